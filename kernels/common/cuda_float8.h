// fp8 (fp8.h) in the registers of a thread, four codes in each: for kernels of sm_90a, which converts two at a time.
#pragma once

#include "cuda_hopper.h"
#include "cuda_mma.h"
#include "fp8.h"

#if !defined(CD_EMULATE)
#include <cuda_fp16.h>
#endif

namespace cd::cuda {

#if CD_HOPPER
// Codes 0 and 1 as two bf16 in `low`, 2 and 3 in `high`. Exact.
__device__ __forceinline__ void widenFloat8(uint32_t codes, uint32_t& low, uint32_t& high) {
#if defined(CD_EMULATE)
  const auto number = [codes](int index) { return toFloat(Float8{static_cast<uint8_t>(codes >> (8 * index))}); };
  low = packBFloat16(number(0), number(1));
  high = packBFloat16(number(2), number(3));
#else
  uint32_t halves[2];
  asm("{\n.reg .b16 low, high;\n"
      "mov.b32 {low, high}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, low;\n"
      "cvt.rn.f16x2.e4m3x2 %1, high;\n}"
      : "=r"(halves[0]), "=r"(halves[1])
      : "r"(codes));
  const auto pack = [](uint32_t pair) {
    const float2 numbers = __half22float2(*reinterpret_cast<const __half2*>(&pair));
    return packBFloat16(numbers.x, numbers.y);
  };
  low = pack(halves[0]);
  high = pack(halves[1]);
#endif
}

// Codes 0, 2, 1, 3.
__device__ __forceinline__ uint32_t swapMiddle(uint32_t codes) {
#if defined(CD_EMULATE)
  return (codes & 0xff0000ffu) | (codes & 0xff00u) << 8 | (codes >> 8 & 0xff00u);
#else
  return __byte_perm(codes, 0, 0x3120);
#endif
}
#endif

}  // namespace cd::cuda
