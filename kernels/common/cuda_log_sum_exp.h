// log Σ exp over a row of logits by one block, in one order for each block size: whoever has equal logits gets equal bits.
#pragma once

#include "cuda.h"

namespace cd::cuda {

// NaN if a logit is NaN or +∞; −∞ if there is none above it. All threads of the block get it.
__device__ __forceinline__ float blockLogSumExp(const float* logits, int64_t count) {
  float most = -INFINITY;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) most = fmaxf(most, logits[i]);
  most = blockMax(most);
  const float origin = most == -INFINITY ? 0.0f : most;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += blockDim.x) sum += expf(logits[i] - origin);
  return most + logf(blockSum(sum));
}

}  // namespace cd::cuda
