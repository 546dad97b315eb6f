// What threads do with the fragments of sums (cuda_mma.h, cuda_wgmma.h) in their registers.
#pragma once

#include "cuda_mma.h"

namespace cd::cuda {

constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// 2^x, to two ulp.
__device__ __forceinline__ float exp2Fast(float x) {
#if defined(CD_EMULATE)
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

// Rows and columns of a C fragment: element i of part j lies at (fragmentRow(i), fragmentColumn(j, i)).
__device__ __forceinline__ int fragmentRow(int i) { return laneIndex() / 4 + i / 2 * 8; }
__device__ __forceinline__ int fragmentColumn(int j, int i) { return j * 8 + laneIndex() % 4 * 2 + i % 2; }

// The four lanes that share a row.
__device__ __forceinline__ float rowSum(float value) {
  value += __shfl_xor_sync(kAllLanes, value, 1);
  return value + __shfl_xor_sync(kAllLanes, value, 2);
}
__device__ __forceinline__ float rowMax(float value) {
  value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(kAllLanes, value, 2));
}

// Two neighbours of a row of bf16.
__device__ __forceinline__ void storePair(BFloat16* target, float first, float second) {
  *reinterpret_cast<uint32_t*>(target) = packBFloat16(first, second);
}

}  // namespace cd::cuda
