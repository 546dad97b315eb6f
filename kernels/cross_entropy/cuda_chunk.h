// What the ways through a vocabulary have in common: tokens in chunks, whose hidden rows are gathered and whose gradients follow
// from d by two products.
#pragma once

#include "../common/cuda.h"
#include "../matmul/cuda_matmul.h"

namespace cd::cuda::vocabulary {

constexpr int kThreads = 512;

// What the three operations have in common: which tokens count, and with what coefficient d = coefficient · (softmax −
// 1[target]).
struct Tokens {
  const int32_t* targets;
  const float* weights;   // linear_cross_entropy: coefficient; null: all 1
  const float* upstream;  // token_logprobs_backward: −coefficient; null: all 1
  int64_t V;
  int32_t lowest;  // −2 where the target may lie in another part of the vocabulary

  __device__ bool valid(int64_t token) const { return targets[token] >= lowest && targets[token] < V; }
  __device__ float coefficient(int64_t token) const {
    if (targets[token] == -1 || !valid(token)) return 0;
    return weights ? weights[token] : upstream ? -upstream[token] : 1.0f;
  }
};

// rows [.., E], `rowStride` apart: hidden rows from `first` on, one block each.
template <class T>
__global__ void __launch_bounds__(kThreads) gatherRows(const T* hidden, int64_t stride, int64_t E, Tokens tokens, int64_t first,
                                                       T* rows, int64_t rowStride, FailureReport fail) {
  const int64_t token = first + blockIdx.x;
  if (!tokens.valid(token) && threadIdx.x == 0) fail(0, tokens.targets[token], token);
  const bool counts = tokens.coefficient(token) != 0;
  for (int64_t i = threadIdx.x; i < E; i += kThreads)
    rows[blockIdx.x * rowStride + i] = counts ? hidden[token * stride + i] : T{};
}

struct Results {
  float* lse;  // [T]; read where `lseGiven`
  bool lseGiven;
  float* logprobs;  // [T], or null
  float* loss;      // [T], or null
};

inline Tensor matrix(void* data, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  Tensor tensor;
  tensor.data = data;
  tensor.dtype = dtype;
  tensor.present = true;
  tensor.rank = 2;
  tensor.shape[0] = rows;
  tensor.shape[1] = columns;
  tensor.rowStride = stride;
  return tensor;
}

// d [count, V] of the tokens from `first` on, whose hidden rows are `chunk`, to the gradients; either may be absent.
inline void multiplyGradients(const Call& call, const Tensor& d, const Tensor& chunk, int64_t first, const Tensor& dHidden,
                              const Tensor& dWeight, void* work) {
  if (dHidden.present) multiply(call, {d, call[1], rowsOf(dHidden, first, chunk.shape[0]), false, false, false}, work);
  if (dWeight.present) multiply(call, {d, chunk, dWeight, true, false, true}, work);
}

}  // namespace cd::cuda::vocabulary
