// fp8 on GPUs: conversion of two numbers at once, from sm_89 on. The same bits as in fp8.h.
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

}  // namespace cd::cuda
