#include <string>

#include "../common/dispatch.h"
#include "logits.h"
#include "vocabulary_part.h"

namespace cd::cpu {
using namespace cross_entropy;

namespace {
void checkTargets(const Call& call, int32_t lowest) {
  const int32_t* targets = call[2].as<int32_t>();
  const int64_t T = call[0].shape[0], V = call[1].shape[0];
  for (int64_t t = 0; t < T; ++t)
    if (targets[t] < lowest || targets[t] >= V)
      call.fail(2, "be -1 or below " + std::to_string(V) + " (the vocabulary) for token " + std::to_string(t),
                std::to_string(targets[t]));
}

// Tokens with a target whose weight, where there are weights, is not 0.
bool counts(const Call& call, int64_t token, const float* weights) {
  return call[2].as<int32_t>()[token] != -1 && (!weights || weights[token] != 0.0f);
}
int64_t countTokens(const Call& call, const float* weights) {
  int64_t count = 0;
  for (int64_t t = 0; t < call[0].shape[0]; ++t) count += counts(call, t, weights);
  return count;
}

// Calls body(chunk, tokens of it, how many) for chunks of counted tokens.
template <class T, class Body>
void forEachChunk(const Call& call, const float* weights, bool keep, bool gradients, Body&& body) {
  const int64_t count = countTokens(call, weights);
  if (count == 0) return;
  Chunk<T> chunk(call, std::min(kChunk, count), keep, gradients);
  int64_t filled = 0;
  for (int64_t t = 0; t < call[0].shape[0]; ++t)
    if (counts(call, t, weights)) chunk.tokens[filled++] = t;
  for (int64_t from = 0; from < count; from += kChunk) body(chunk, chunk.tokens + from, std::min(kChunk, count - from));
}

void clear(const Tensor& tensor) {
  if (tensor.elements() == 0) return;
  for (int64_t row = 0; row < tensor.rows(); ++row)
    std::memset(static_cast<char*>(tensor.data) + row * tensor.rowStride * dtypeSize(tensor.dtype), 0,
                tensor.cols() * dtypeSize(tensor.dtype));
}
}  // namespace

void token_logprobs(const Call& call) {
  checkTargets(call, -2);
  const Tensor &logprobs = call[3], &lse = call[4];
  clear(logprobs);
  clear(lse);
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forEachChunk<T>(call, nullptr, false, false, [&](Chunk<T>& chunk, const int64_t* tokens, int64_t count) {
      chunk.forward(tokens, count, true);
      for (int64_t i = 0; i < count; ++i) {
        const bool here = call[2].as<int32_t>()[tokens[i]] >= 0;
        logprobs.as<float>()[tokens[i]] = here ? chunk.targetLogits[i] - chunk.lse[i] : -std::numeric_limits<float>::infinity();
        lse.as<float>()[tokens[i]] = chunk.lse[i];
      }
    });
  });
}

void token_logprobs_backward(const Call& call) {
  checkTargets(call, -2);
  const float *lse = call[3].as<float>(), *upstream = call[4].as<float>();
  clear(call[5]);
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forEachChunk<T>(call, upstream, true, true, [&](Chunk<T>& chunk, const int64_t* tokens, int64_t count) {
      chunk.forward(tokens, count, false);
      for (int64_t i = 0; i < count; ++i) chunk.lse[i] = lse[tokens[i]];
      chunk.backward(tokens, count, call[5], call[6], [&](int64_t token) { return -upstream[token]; });
    });
  });
}

void linear_cross_entropy(const Call& call) {
  checkTargets(call, -1);
  const float* weights = call[3].as<float>();
  float* loss = call[4].as<float>();
  clear(call[4]);
  clear(call[5]);
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forEachChunk<T>(call, weights, true, true, [&](Chunk<T>& chunk, const int64_t* tokens, int64_t count) {
      chunk.forward(tokens, count, true);
      for (int64_t i = 0; i < count; ++i) loss[tokens[i]] = weights[tokens[i]] * (chunk.lse[i] - chunk.targetLogits[i]);
      chunk.backward(tokens, count, call[5], call[6], [&](int64_t token) { return weights[token]; });
    });
  });
}

void merge_logprobs(const Call& call) {
  const int64_t N = call[1].shape[0], T = call[1].shape[2], vocabulary = static_cast<int64_t>(call.attribute(0));
  const float* parts = call[1].as<float>();
  const int32_t* targets = call[0].as<int32_t>();
  float *logprobs = call[2].as<float>(), *lse = call[3].as<float>();
  for (int64_t t = 0; t < T; ++t) {
    const int64_t target = targets[t];
    if (target < -1 || target >= vocabulary) throw Error(call.op->explain(call, {1, 0, {target, t}}));
    logprobs[t] = lse[t] = 0;
    if (target < 0) continue;
    LogSumExp total;
    for (int64_t n = 0; n < N; ++n) total.add({parts[(2 * n + 1) * T + t], 1});
    lse[t] = total.value();
    const float* own = parts + 2 * partOf(target, N, vocabulary) * T + t;
    logprobs[t] = own[0] + (own[T] - lse[t]);
  }
}

}  // namespace cd::cpu
