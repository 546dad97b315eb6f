// Chunks of tokens: their hidden rows, those that do not count as 0; their logits, by matmul; log-sum-exp and the derivative in
// the place of the logits; the two gradients, by matmul.
#include "../common/cuda_log_sum_exp.h"
#include "../common/dispatch.h"
#include "cuda_chunk.h"
#include "cuda_hopper.h"
#include "vocabulary_part.h"

namespace cd::cuda {
using namespace vocabulary;

namespace {
constexpr int64_t kChunk = 1024;

// One block for each row of logits. With Derivative, the row's first half (bf16) or all of it becomes d.
template <class T, bool kDerivative>
__global__ void __launch_bounds__(kThreads)
    reduceLogits(float* logits, int64_t V, Tokens tokens, int64_t first, Results results) {
  const int64_t token = first + blockIdx.x;
  float* const row = logits + blockIdx.x * V;
  const float coefficient = tokens.coefficient(token);
  const bool counts = coefficient != 0;
  float lse = 0, target = 0;
  if (counts) {
    lse = results.lseGiven ? results.lse[token] : blockLogSumExp(row, V);
    target = tokens.targets[token] < 0 ? -INFINITY : row[tokens.targets[token]];
  }
  if (threadIdx.x == 0) {
    if (results.logprobs) results.logprobs[token] = counts ? target - lse : 0;
    if (results.logprobs && results.lse) results.lse[token] = counts ? lse : 0;
    if (results.loss) results.loss[token] = counts ? coefficient * (lse - target) : 0;
  }
  if constexpr (kDerivative) {
    // d of a segment lies on logits that have been read: its own, or ones before it.
    T* const d = reinterpret_cast<T*>(row);
    for (int64_t start = 0; start < V; start += kThreads) {
      const int64_t i = start + threadIdx.x;
      float value = 0;
      if (i < V && counts) value = coefficient * (expf(row[i] - lse) - (i == tokens.targets[token] ? 1.0f : 0.0f));
      __syncthreads();
      if (i < V) d[i] = fromFloat<T>(value);
      __syncthreads();
    }
  }
}

// hidden, weight at 0 and 1; dHidden and dWeight may be absent.
template <class T>
void runChunks(const Call& call, const Tokens& tokens, const Results& results, const Tensor& dHidden, const Tensor& dWeight) {
  const Tensor &hidden = call[0], &weight = call[1];
  const int64_t total = hidden.shape[0], E = hidden.shape[1], V = weight.shape[0], capacity = total < kChunk ? total : kChunk;
  if (total == 0) return;
  const bool gradients = dHidden.present || dWeight.present;
  const auto aligned = [](int64_t bytes) { return ceilDiv(bytes, 256) * 256; };
  const int64_t rowBytes = aligned(capacity * E * static_cast<int64_t>(sizeof(T))), logitBytes = aligned(capacity * V * 4);
  char* const memory = call.scratch<char>(rowBytes + logitBytes + productScratch(capacity, V, E));
  T* const rows = reinterpret_cast<T*>(memory);
  float* const logits = reinterpret_cast<float*>(memory + rowBytes);
  void* const work = memory + rowBytes + logitBytes;
  const int64_t dStride = V * static_cast<int64_t>(sizeof(float) / sizeof(T));
  for (int64_t first = 0; first < total; first += capacity) {
    const int64_t count = total - first < capacity ? total - first : capacity;
    const auto blocks = static_cast<unsigned>(count);
    const Tensor chunk = matrix(rows, hidden.dtype, count, E, E);
    launch(call, blocks, kThreads, 0, gatherRows<T>, hidden.as<T>(), hidden.rowStride, E, tokens, first, rows, E,
           FailureReport(call));
    multiply(call, {chunk, weight, matrix(logits, DType::F32, count, V, V), false, true, false}, work);
    if (!gradients) {
      launch(call, blocks, kThreads, 0, reduceLogits<T, false>, logits, V, tokens, first, results);
      continue;
    }
    launch(call, blocks, kThreads, 0, reduceLogits<T, true>, logits, V, tokens, first, results);
    const Tensor d = matrix(logits, hidden.dtype, count, V, dStride);
    multiplyGradients(call, d, chunk, first, dHidden, dWeight, work);
  }
}

void run(const Call& call, const Tokens& tokens, const Results& results, const Tensor& dHidden, const Tensor& dWeight) {
  if (takesHopper(call)) return runHopper(call, tokens, results, dHidden, dWeight);
  withFloat(call[0].dtype, [&](auto zero) { runChunks<decltype(zero)>(call, tokens, results, dHidden, dWeight); });
}

Tokens tokensOf(const Call& call, const float* weights, const float* upstream, int32_t lowest) {
  return {call[2].as<int32_t>(), weights, upstream, call[1].shape[0], lowest};
}

__global__ void __launch_bounds__(kThreads) mergeParts(const float* parts, int64_t N, int64_t T, int64_t vocabulary,
                                                       const int32_t* targets, float* logprobs, float* lse, FailureReport fail) {
  for (int64_t t = int64_t{blockIdx.x} * kThreads + threadIdx.x; t < T; t += int64_t{gridDim.x} * kThreads) {
    const int64_t target = targets[t];
    if (target < -1 || target >= vocabulary) fail(0, target, t);
    const bool counts = target >= 0 && target < vocabulary;
    float maximum = -INFINITY, sum = 0, merged = 0, own = 0;
    for (int64_t n = 0; n < N && counts; ++n) maximum = fmaxf(maximum, parts[(2 * n + 1) * T + t]);
    const float origin = maximum == -INFINITY ? 0.0f : maximum;
    for (int64_t n = 0; n < N && counts; ++n) sum += expf(parts[(2 * n + 1) * T + t] - origin);
    if (counts) {
      const float* part = parts + 2 * cross_entropy::partOf(target, N, vocabulary) * T + t;
      merged = origin + logf(sum);
      own = part[0] + (part[T] - merged);
    }
    logprobs[t] = own;
    lse[t] = merged;
  }
}
}  // namespace

void token_logprobs(const Call& call) {
  run(call, tokensOf(call, nullptr, nullptr, -2), {call[4].as<float>(), false, call[3].as<float>(), nullptr}, {}, {});
}

void token_logprobs_backward(const Call& call) {
  run(call, tokensOf(call, nullptr, call[4].as<float>(), -2), {call[3].as<float>(), true, nullptr, nullptr}, call[5], call[6]);
}

void linear_cross_entropy(const Call& call) {
  run(call, tokensOf(call, call[3].as<float>(), nullptr, -1), {nullptr, false, nullptr, call[4].as<float>()}, call[5], call[6]);
}

void merge_logprobs(const Call& call) {
  const int64_t N = call[1].shape[0], T = call[1].shape[2];
  launch(call, blocksFor(T, kThreads), kThreads, 0, mergeParts, call[1].as<float>(), N, T,
         static_cast<int64_t>(call.attribute(0)), call[0].as<int32_t>(), call[2].as<float>(), call[3].as<float>(),
         FailureReport(call));
}

}  // namespace cd::cuda
