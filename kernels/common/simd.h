// One vector type for every CPU instruction set, as wide as the set's registers, on GCC's vector extensions.
//
// Loads and stores convert bf16; everything between is f32. `sum` and `maximum` reduce in one fixed tree, so a row's
// result depends on the row and the instruction set alone.
#pragma once

#include <cmath>
#include <cstring>

#include "../../native/kernel.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace cd::simd {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float Vec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t IVec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef uint32_t UVec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef uint16_t HVec __attribute__((vector_size(kWidth * 2), aligned(2), may_alias));

inline Vec splat(float value) { return value - Vec{}; }

inline Vec load(const float* source) { return *reinterpret_cast<const Vec*>(source); }
inline Vec load(const BFloat16* source) {
  const HVec half = *reinterpret_cast<const HVec*>(source);
  return reinterpret_cast<Vec>(__builtin_convertvector(half, UVec) << 16);
}
inline void store(float* target, Vec value) { *reinterpret_cast<Vec*>(target) = value; }
inline void store(BFloat16* target, Vec value) {
  const UVec bits = reinterpret_cast<UVec>(value);
  const UVec rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const UVec quiet = (bits >> 16) | 0x40u;
  const UVec isNaN = reinterpret_cast<UVec>((bits & 0x7fffffffu) > 0x7f800000u);
  *reinterpret_cast<HVec*>(target) = __builtin_convertvector((isNaN & quiet) | (~isNaN & rounded), HVec);
}

// The first `count` (< kWidth) elements; the rest of the vector is `fill`.
template <class T>
inline Vec loadTail(const T* source, int64_t count, float fill = 0) {
  float lanes[kWidth];
  for (int lane = 0; lane < kWidth; ++lane) lanes[lane] = lane < count ? toFloat(source[lane]) : fill;
  return load(lanes);
}
template <class T>
inline void storeTail(T* target, Vec value, int64_t count) {
  for (int lane = 0; lane < count; ++lane) target[lane] = fromFloat<T>(value[lane]);
}

inline Vec fma(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
  Vec result;
  for (int lane = 0; lane < kWidth; ++lane) result[lane] = __builtin_fmaf(a[lane], b[lane], c[lane]);
  return result;
#endif
}

inline Vec maximum(Vec a, Vec b) { return a > b ? a : b; }
inline Vec minimum(Vec a, Vec b) { return a < b ? a : b; }

inline float sum(Vec value) {
  float lanes[kWidth];
  store(lanes, value);
  for (int half = kWidth / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  return lanes[0];
}
inline float maximum(Vec value) {
  float result = value[0];
  for (int lane = 1; lane < kWidth; ++lane) result = value[lane] > result ? value[lane] : result;
  return result;
}

// exp to about 1 ulp: x = n·ln2 + r with |r| ≤ ln2/2, a degree-6 polynomial in r, scaled by 2^n. −inf gives 0, NaN stays.
inline Vec exp(Vec x) {
  const Vec clamped = minimum(maximum(x, splat(-104.0f)), splat(88.8f));
  const Vec shifted = fma(clamped, splat(1.44269504f), splat(12582912.0f));  // rounds to nearest in the low mantissa bits
  const Vec n = shifted - splat(12582912.0f);
  Vec r = fma(n, splat(-0.693145752f), clamped);
  r = fma(n, splat(-1.42860677e-6f), r);
  Vec p = splat(1.3888889e-3f);
  p = fma(p, r, splat(8.3333333e-3f));
  p = fma(p, r, splat(4.1666667e-2f));
  p = fma(p, r, splat(1.6666667e-1f));
  p = fma(p, r, splat(0.5f));
  p = fma(p, r, splat(1.0f));
  p = fma(p, r, splat(1.0f));
  // 2^n in two steps, so that subnormal results come out right.
  const IVec whole = __builtin_convertvector(n, IVec);
  const IVec half = whole >> 1, rest = whole - half;
  const Vec result = p * reinterpret_cast<Vec>((half + 127) << 23) * reinterpret_cast<Vec>((rest + 127) << 23);
  return x == x ? result : x;
}

}  // namespace cd::simd
