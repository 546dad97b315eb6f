// fp8 e4m3 (Micikevicius et al. 2022, "FP8 formats for deep learning"): sign, 4 bits of exponent with bias 7, 3 of mantissa; no
// infinities, NaN is ±0x7f, the largest number is 448, the smallest 2⁻⁹. On every back end the same bits.
#pragma once

#include "../../native/kernel.h"

#if !defined(__CUDACC__) && !defined(CD_EMULATE)
#include "simd.h"
#endif

namespace cd {

struct Float8 {
  uint8_t bits;
};

// Exact. The bits, moved to where f32 has them, are 2¹²⁰ too small, subnormal ones as well.
CD_HOST_DEVICE inline float toFloat(Float8 value) {
  const uint32_t magnitude = value.bits & 0x7fu, sign = (value.bits & 0x80u) << 24;
  const uint32_t small = magnitude << 20, nan = 0x7fc00000u;
  float number;
  __builtin_memcpy(&number, &small, 4);
  number *= 0x1p120f;
  uint32_t bits;
  __builtin_memcpy(&bits, &number, 4);
  bits = (magnitude == 0x7f ? nan : bits) | sign;
  __builtin_memcpy(&number, &bits, 4);
  return number;
}

// To nearest, ties to even; beyond the range to ±448, infinities too.
CD_HOST_DEVICE inline Float8 toFloat8(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  const uint32_t sign = bits >> 24 & 0x80u;
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return {static_cast<uint8_t>(sign | 0x7f)};
  if (bits >= 0x43e00000u) return {static_cast<uint8_t>(sign | 0x7e)};  // 448
  if (bits < 0x3c800000u) {                                             // 2⁻⁶: steps of 2⁻⁹, which are those of f32 at 2¹⁴
    float magnitude;
    __builtin_memcpy(&magnitude, &bits, 4);
    magnitude += 0x1p14f;
    __builtin_memcpy(&bits, &magnitude, 4);
    return {static_cast<uint8_t>(sign | (bits - 0x46800000u))};
  }
  const uint32_t rounded = bits + 0x7ffffu + (bits >> 20 & 1);
  return {static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)))};
}

#if !defined(__CUDACC__) && !defined(CD_EMULATE)
namespace simd {

typedef uint8_t BVec __attribute__((vector_size(kWidth), aligned(1), may_alias));

inline Vec load(const Float8* source) {
  const UVec bits = __builtin_convertvector(*reinterpret_cast<const BVec*>(source), UVec), magnitude = bits & 0x7fu;
  const Vec number = reinterpret_cast<Vec>(magnitude << 20) * 0x1p120f;
  const UVec isNaN = reinterpret_cast<UVec>(magnitude == 0x7fu);
  return reinterpret_cast<Vec>(reinterpret_cast<UVec>(number) | (isNaN & 0x7fc00000u) | (bits & 0x80u) << 24);
}
inline void store(Float8* target, Vec value) {
  const UVec all = reinterpret_cast<UVec>(value), sign = all >> 24 & 0x80u, bits = all & 0x7fffffffu;
  const UVec isNaN = reinterpret_cast<UVec>(bits > 0x7f800000u), isLarge = reinterpret_cast<UVec>(bits >= 0x43e00000u),
             isSmall = reinterpret_cast<UVec>(bits < 0x3c800000u);
  const UVec small = reinterpret_cast<UVec>(reinterpret_cast<Vec>(bits) + 0x1p14f) - 0x46800000u;
  const UVec normal = ((bits + 0x7ffffu + (bits >> 20 & 1u)) >> 20) - (120u << 3);
  const UVec finite = (isSmall & small) | (~isSmall & ((isLarge & 0x7eu) | (~isLarge & normal)));
  const UVec result = sign | (isNaN & 0x7fu) | (~isNaN & finite);
  *reinterpret_cast<BVec*>(target) = __builtin_convertvector(result, BVec);
}

}  // namespace simd
#endif

}  // namespace cd
