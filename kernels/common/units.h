// Units: what one lane of a multiply-add takes from each operand. A unit is one f32, or, where the instruction set multiplies
// bf16 (vdpbf16ps), a pair of bf16 neighbours along K. Without such instructions bf16 is widened to f32 units.
#pragma once

#include "simd.h"

namespace cd::units {
using namespace simd;

struct Pair {
  uint32_t bits;  // element k in the low half, element k + 1 in the high half
};

template <class T>
struct UnitOf {
  using type = float;
};
#if defined(__AVX512BF16__)
template <>
struct UnitOf<BFloat16> {
  using type = Pair;
};
#endif
template <class T>
using Unit = typename UnitOf<T>::type;

template <class U>
constexpr int kPerUnit = std::is_same_v<U, Pair> ? 2 : 1;

template <class U>
inline int64_t unitCount(int64_t elements) {
  return (elements + kPerUnit<U> - 1) / kPerUnit<U>;
}

// Lanes hold units bit by bit, so that a pair never passes through f32 arithmetic.
inline UVec broadcast(const void* unit) {
  uint32_t bits;
  __builtin_memcpy(&bits, unit, 4);
  return UVec{} + bits;
}
inline UVec loadUnits(const void* source) { return *static_cast<const UVec*>(source); }
inline void storeUnits(void* target, UVec value) { *static_cast<UVec*>(target) = value; }
inline void storeSome(void* target, UVec value, int64_t count) {
  if (count >= kWidth) storeUnits(target, value);
  else __builtin_memcpy(target, &value, static_cast<size_t>(count) * 4);
}

// acc += a · b, lane by lane.
template <class U>
inline Vec multiplyAdd(UVec a, UVec b, Vec acc) {
#if defined(__AVX512BF16__)
  if constexpr (std::is_same_v<U, Pair>)
    return reinterpret_cast<Vec>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(acc), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
#endif
  return fma(reinterpret_cast<Vec>(a), reinterpret_cast<Vec>(b), acc);
}

// The first kWidth units of a row whose K runs along memory; what lies past `elements` is 0.
template <class U, class T>
inline UVec loadAlong(const T* row, int64_t elements) {
  if (elements >= kWidth * kPerUnit<U>) {
    if constexpr (std::is_same_v<T, BFloat16> && std::is_same_v<U, float>) return reinterpret_cast<UVec>(load(row));
    else return loadUnits(row);
  }
#if defined(__AVX512BW__)
  if constexpr (std::is_same_v<U, Pair>) return reinterpret_cast<UVec>(_mm512_maskz_loadu_epi16((1u << elements) - 1u, row));
  else if constexpr (std::is_same_v<T, float>)
    return reinterpret_cast<UVec>(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << elements) - 1u), row));
#endif
  alignas(64) uint32_t lanes[kWidth] = {};
  for (int64_t i = 0; i < elements; ++i) {
    const float value = toFloat(row[i]);
    __builtin_memcpy(&lanes[i], &value, 4);
  }
  return loadUnits(lanes);
}

// Units of `lanes` columns, at most kWidth used, from a row (f32) or from two rows (a bf16 pair; second is null past the last
// row). Other lanes are 0.
template <class U, class T>
inline UVec loadAcross(const T* first, [[maybe_unused]] const T* second, int64_t lanes) {
  if constexpr (std::is_same_v<U, Pair>) {
#if defined(__AVX512BW__)
    const __mmask16 mask = lanes >= 16 ? 0xffff : static_cast<__mmask16>((1u << lanes) - 1u);
    const UVec low = __builtin_convertvector(reinterpret_cast<HVec>(_mm256_maskz_loadu_epi16(mask, first)), UVec);
    if (!second) return low;
    return low | __builtin_convertvector(reinterpret_cast<HVec>(_mm256_maskz_loadu_epi16(mask, second)), UVec) << 16;
#endif
  } else {
    return loadAlong<U>(first, lanes);
  }
}

// Exchanges rows and columns of a kWidth × kWidth block held in registers.
inline void transposeBlock(UVec (&block)[kWidth]) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m256i pairs[8], quads[8];
#pragma GCC unroll 4
  for (int row = 0; row < 8; row += 2) {
    const __m256i upper = reinterpret_cast<__m256i>(block[row]), lower = reinterpret_cast<__m256i>(block[row + 1]);
    pairs[row] = _mm256_unpacklo_epi32(upper, lower);
    pairs[row + 1] = _mm256_unpackhi_epi32(upper, lower);
  }
#pragma GCC unroll 4
  for (int row = 0; row < 8; row += 4) {
    quads[row] = _mm256_unpacklo_epi64(pairs[row], pairs[row + 2]);
    quads[row + 1] = _mm256_unpackhi_epi64(pairs[row], pairs[row + 2]);
    quads[row + 2] = _mm256_unpacklo_epi64(pairs[row + 1], pairs[row + 3]);
    quads[row + 3] = _mm256_unpackhi_epi64(pairs[row + 1], pairs[row + 3]);
  }
#pragma GCC unroll 4
  for (int row = 0; row < 4; ++row) {
    block[row] = reinterpret_cast<UVec>(_mm256_permute2x128_si256(quads[row], quads[row + 4], 0x20));
    block[row + 4] = reinterpret_cast<UVec>(_mm256_permute2x128_si256(quads[row], quads[row + 4], 0x31));
  }
#else
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2) {
    UVec low, high;  // which lanes of the concatenation (upper row, lower row) the two results take
    for (int lane = 0; lane < kWidth; ++lane) {
      low[lane] = (lane & half) == 0 ? lane : kWidth + lane - half;
      high[lane] = (lane & half) == 0 ? lane + half : kWidth + lane;
    }
#pragma GCC unroll 16
    for (int row = 0; row < kWidth; ++row) {
      if (row & half) continue;
      const UVec upper = block[row], lower = block[row + half];
      block[row] = __builtin_shuffle(upper, lower, low);
      block[row + half] = __builtin_shuffle(upper, lower, high);
    }
  }
#endif
}

}  // namespace cd::units
