// Units: what one lane of a multiply-add takes from each operand. A unit is one f32, or, where the instruction set multiplies
// bf16 (vdpbf16ps), a pair of bf16 neighbours along K. Without such instructions bf16 is widened to f32 units.
#pragma once

#include <utility>

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

// Results of f32 arithmetic that become factors of a product.
inline void storeFactors(float* target, Vec value) { store(target, value); }
inline void storeFactors(BFloat16* target, Vec value) {
#if defined(__AVX512BF16__)
  const __m256bh rounded = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(value));
  __builtin_memcpy(target, &rounded, sizeof(rounded));
#else
  store(target, value);
#endif
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
    if (lanes >= kWidth) {
      const UVec low = __builtin_convertvector(*reinterpret_cast<const HVec*>(first), UVec);
      if (!second) return low;
      return low | __builtin_convertvector(*reinterpret_cast<const HVec*>(second), UVec) << 16;
    }
#if defined(__AVX512BW__)
    const __mmask16 mask = static_cast<__mmask16>((1u << lanes) - 1u);
    const UVec low = __builtin_convertvector(reinterpret_cast<HVec>(_mm256_maskz_loadu_epi16(mask, first)), UVec);
    if (!second) return low;
    return low | __builtin_convertvector(reinterpret_cast<HVec>(_mm256_maskz_loadu_epi16(mask, second)), UVec) << 16;
#endif
  } else {
    return loadAlong<U>(first, lanes);
  }
}

// Exchanges the Half × Half squares right above and left below the diagonal of every 2·Half square, then the smaller ones.
template <int Half, int... Lane>
[[gnu::always_inline]] inline void exchange(UVec (&block)[kWidth], std::integer_sequence<int, Lane...> lanes) {
  // Which lanes of (upper row, lower row) the new rows take: constants, so that one instruction does each.
  constexpr UVec kUpper = {static_cast<uint32_t>((Lane & Half) == 0 ? Lane : kWidth + Lane - Half)...};
  constexpr UVec kLower = {static_cast<uint32_t>((Lane & Half) == 0 ? Lane + Half : kWidth + Lane)...};
#pragma GCC unroll 16
  for (int row = 0; row < kWidth; ++row) {
    if (row & Half) continue;
    const UVec upper = block[row], lower = block[row + Half];
    block[row] = __builtin_shuffle(upper, lower, kUpper);
    block[row + Half] = __builtin_shuffle(upper, lower, kLower);
  }
  if constexpr (Half > 1) exchange<Half / 2>(block, lanes);
}

// Exchanges rows and columns of a kWidth × kWidth block held in registers.
[[gnu::always_inline]] inline void transposeBlock(UVec (&block)[kWidth]) {
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
  exchange<kWidth / 2>(block, std::make_integer_sequence<int, kWidth>{});
#endif
}

}  // namespace cd::units
