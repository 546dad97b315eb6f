// Numbers of few bits on GPUs, two at once: from fp8 (sm_89 on; the same bits as in fp8.h), and scaled in bf16 (sm_90 on).
#pragma once

#include "cuda.h"
#include "fp8.h"

namespace cd::cuda {

// The two codes in the low half of a register, the first one lowest, as numbers.
__device__ __forceinline__ float2 widenFloat8(uint32_t codes) {
#if defined(CD_EMULATE)
  return make_float2(toFloat(Float8{static_cast<uint8_t>(codes)}), toFloat(Float8{static_cast<uint8_t>(codes >> 8)}));
#else
  float2 numbers;
  asm("{\n"
      ".reg .b32 both;\n"
      ".reg .b16 low, high;\n"
      "cvt.rn.f16x2.e4m3x2 both, %2;\n"
      "mov.b32 {low, high}, both;\n"
      "cvt.f32.f16 %0, low;\n"
      "cvt.f32.f16 %1, high;\n"
      "}"
      : "=f"(numbers.x), "=f"(numbers.y)
      : "h"(static_cast<uint16_t>(codes)));
  return numbers;
#endif
}

// Two bf16 times two bf16, rounded; subnormal numbers are numbers.
__device__ __forceinline__ uint32_t multiplyBFloat16Pair(uint32_t a, uint32_t b) {
#if defined(CD_EMULATE)
  const auto half = [](uint32_t pair, int shift) { return toFloat(BFloat16{static_cast<uint16_t>(pair >> shift)}); };
  return toBFloat16(half(a, 0) * half(b, 0)).bits | static_cast<uint32_t>(toBFloat16(half(a, 16) * half(b, 16)).bits) << 16;
#else
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
#endif
}

}  // namespace cd::cuda
