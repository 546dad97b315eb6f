// Philox of many blocks at once, on the CPU's vectors: the same words as philox.h, in the order of their index.
#pragma once

#include <utility>

#include "philox.h"
#include "simd.h"

namespace cd::simd {

typedef uint64_t WideVec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

// The 64-bit products of the even lanes.
inline WideVec multiplyEven(WideVec a, WideVec b) {
#if defined(__AVX512F__)
  // The masked form: the plain one trips GCC 12's -Wuninitialized.
  return reinterpret_cast<WideVec>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<WideVec>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// The 64-bit products of a vector of 32-bit words with one multiplier.
inline void multiply(UVec a, uint32_t multiplier, UVec& high, UVec& low) {
  const WideVec words = reinterpret_cast<WideVec>(a), factor = WideVec{} + multiplier;
  const WideVec even = multiplyEven(words, factor), odd = multiplyEven(words >> 32, factor);
  high = reinterpret_cast<UVec>((even >> 32) | (odd & 0xffffffff00000000u));
  low = a * multiplier;
}

// a[0], b[0], a[1], b[1], …: the lower or the upper half.
inline UVec interleave(UVec a, UVec b, int from) {
  UVec mask;
  for (int lane = 0; lane < kWidth; ++lane) mask[lane] = static_cast<uint32_t>(from + lane / 2 + (lane & 1) * kWidth);
  return __builtin_shuffle(a, b, mask);
}

// The draws of kWidth blocks from `block`: 4·kWidth words in the order of their index.
inline void draw(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t block, uint32_t* words) {
  constexpr auto count = []<int... Lane>(std::integer_sequence<int, Lane...>) { return UVec{static_cast<uint32_t>(Lane)...}; };
  const uint32_t low = static_cast<uint32_t>(block);
  UVec w0 = low + count(std::make_integer_sequence<int, kWidth>{});
  UVec w1 = static_cast<uint32_t>(block >> 32) + (reinterpret_cast<UVec>(w0 < low) & 1u);  // the low word may have run over
  UVec w2 = UVec{} + step, w3 = UVec{} + purpose;
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    UVec high0, low0, high1, low1;
    multiply(w0, kPhiloxMultiplier0, high0, low0);
    multiply(w2, kPhiloxMultiplier1, high1, low1);
    w0 = high1 ^ w1 ^ key0;
    w1 = low1;
    w2 = high0 ^ w3 ^ key1;
    w3 = low0;
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  for (int half = 0; half < 2; ++half) {
    const UVec even = interleave(w0, w2, half * kWidth / 2), odd = interleave(w1, w3, half * kWidth / 2);
    for (int part = 0; part < 2; ++part) {
      const UVec mixed = interleave(even, odd, part * kWidth / 2);
      std::memcpy(words + (2 * half + part) * kWidth, &mixed, sizeof(mixed));
    }
  }
}

}  // namespace cd::simd
