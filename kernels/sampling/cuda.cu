// One block for each row. Weights e^−distance are whole numbers of 2⁻⁴⁰ wherever they are added up, so that sums have no order;
// top-k, top-p and min-p find the last token kept by the digits of its key (distance, id), without sorting.
#include "../common/cuda_log_sum_exp.h"
#include "parameters.h"
#include "refusals.h"

namespace cd::cuda {
using namespace sampling;

namespace {
constexpr int kThreads = 512, kWarps = kThreads / 32;
using Sum = unsigned long long;
using Key = unsigned long long;

struct Arguments {
  const float* logits;
  int64_t stride;
  int V, L;
  const float* floats;
  const int32_t *ints, *history, *historyOffsets, *biasTokens;
  const float* biasValues;
  const int32_t *biasOffsets, *allowedMask;
  int32_t* tokens;
  float* logprobs;
  int32_t* topTokens;
  float* topLogprobs;
  int historyCount, biasCount;
  float* work;      // [B, V]: logits, then distances
  int32_t* counts;  // [B, V]
  FailureReport fail;
};

// Offsets [from, from + count] rise within [0, most].
__device__ bool offsetsFit(const int32_t* offsets, int from, int count, int most, int refusal, const FailureReport& fail) {
  int before = 0;
  for (int i = from; i <= from + count; ++i) {
    if (offsets[i] < before || offsets[i] > most) {
      if (threadIdx.x == 0) fail(refusal, offsets[i]);
      return false;
    }
    before = offsets[i];
  }
  return true;
}

// The keys of greater logits are greater; among equal ones that of the lowest id.
__device__ __forceinline__ Key rankKey(float logit, int id) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // −0 counts as 0
  const unsigned rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<Key>(rising) << 32 | ~static_cast<unsigned>(id);
}

// The L greatest logits, one after another.
__device__ void reportTop(const Arguments& a, int64_t b, const float* logits, float lse) {
  Key before = ~Key{0};
  for (int place = 0; place < a.L; ++place) {
    Key best = 0;
    for (int i = threadIdx.x; i < a.V; i += kThreads) {
      const Key key = rankKey(logits[i], i);
      if (key < before && key > best) best = key;
    }
    best = blockReduce(best, Key{0}, [](Key x, Key y) { return x > y ? x : y; });
    if (threadIdx.x == 0) {
      const int id = best == 0 ? -1 : static_cast<int>(~static_cast<unsigned>(best));
      a.topTokens[b * a.L + place] = id;
      a.topLogprobs[b * a.L + place] = id < 0 ? -INFINITY : logits[id] - lse;
    }
    before = best;
  }
}

__device__ void addBias(const Arguments& a, int64_t b, float* logits) {
  if (!a.biasTokens || !offsetsFit(a.biasOffsets, static_cast<int>(b), 1, a.biasCount, kBiasOffset, a.fail)) return;
  // A token may be named twice: one thread, in order.
  for (int i = a.biasOffsets[b]; threadIdx.x == 0 && i < a.biasOffsets[b + 1]; ++i) {
    const int token = a.biasTokens[i];
    if (token < 0 || token >= a.V) a.fail(kBiasToken, token);
    else logits[token] += a.biasValues[i];
  }
  __syncthreads();
}

__device__ void allow(const Arguments& a, int64_t b, float* logits) {
  if (!a.allowedMask) return;
  const int32_t* mask = a.allowedMask + b * ceilDiv(a.V, 32);
  for (int i = threadIdx.x; i < a.V; i += kThreads)
    if (!(static_cast<uint32_t>(mask[i / 32]) >> (i % 32) & 1)) logits[i] = -INFINITY;
  __syncthreads();
}

__device__ void penalise(const Arguments& a, int64_t b, const Parameters& p, float* logits, int32_t* counts) {
  const int from = static_cast<int>(2 * b);
  if (!p.hasPenalties() || !offsetsFit(a.historyOffsets, from, 2, a.historyCount, kHistoryOffset, a.fail)) return;
  const int prompt = a.historyOffsets[from], output = a.historyOffsets[from + 1], end = a.historyOffsets[from + 2];
  const auto tokens = [&](int first, auto&& body) {
    for (int i = first + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
      const int token = a.history[i];
      if (token < 0 || token >= a.V) a.fail(kHistoryToken, token);
      else body(token);
    }
    __syncthreads();
  };
  tokens(prompt, [&](int token) { counts[token] = 0; });
  tokens(output, [&](int token) { atomicAdd(&counts[token], 1); });
  tokens(prompt, [&](int token) {
    const int count = atomicExch(&counts[token], -1);
    if (count < 0) return;  // another occurrence has done it
    float& logit = logits[token];
    logit = logit > 0 ? logit / p.repetitionPenalty : logit * p.repetitionPenalty;
    if (count > 0) logit = logit - p.frequencyPenalty * static_cast<float>(count) - p.presencePenalty;
  });
}

__device__ __forceinline__ Key distanceKey(float distance, int id) {
  return static_cast<Key>(__float_as_uint(distance)) << 32 | static_cast<unsigned>(id);
}
__device__ __forceinline__ Sum weightOf(float distance) { return static_cast<Sum>(expf(-distance) * 0x1p40f); }

// Σ measure of the tokens with keys up to `last`.
template <class Measure>
__device__ Sum total(const float* distances, int V, Key last, Measure measure) {
  Sum sum = 0;
  for (int i = threadIdx.x; i < V; i += kThreads)
    if (distanceKey(distances[i], i) <= last) sum += measure(distances[i]);
  return blockSum(sum);
}

// The smallest key up to `last` whose tokens up to it measure at least `target` > 0 together: digit by digit, from the highest.
template <class Measure>
__device__ Key selectKey(const float* distances, int V, Key last, Sum target, Measure measure) {
  SHARED(Sum[256], digits);
  SHARED(Sum[2], found);  // the digit, and what is before it
  Key prefix = 0;
  for (int shift = 56; shift >= 0; shift -= 8) {
    if (threadIdx.x < 256) digits[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < V; i += kThreads) {
      const Key key = distanceKey(distances[i], i);
      const bool inside = shift == 56 || key >> (shift + 8) == prefix >> (shift + 8);
      if (inside && key <= last) atomicAdd(&digits[key >> shift & 255], measure(distances[i]));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      Sum before = 0;
      int digit = 0;
      while (digit < 255 && before + digits[digit] < target) before += digits[digit++];
      found[0] = static_cast<Sum>(digit);
      found[1] = before;
    }
    __syncthreads();
    prefix |= found[0] << shift;
    target -= found[1];
    __syncthreads();  // found may be written again
  }
  return prefix;
}

// The last key that top-k, top-p and min-p keep.
__device__ Key lastKept(const Parameters& p, const float* distances, int V) {
  Key last = ~Key{0};
  const auto one = [](float) { return Sum{1}; };
  if (p.topK > 0 && p.topK < V) last = selectKey(distances, V, last, static_cast<Sum>(p.topK), one);
  if (p.topP < 1) {
    const double share = static_cast<double>(p.topP) * static_cast<double>(total(distances, V, last, weightOf));
    last = selectKey(distances, V, last, share > 1 ? static_cast<Sum>(ceil(share)) : Sum{1}, weightOf);
  }
  if (p.minP > 0) {
    const Key least = distanceKey(-logf(fminf(p.minP, 1.0f)) + 0.0f, -1);
    if (least < last) last = least;
  }
  return last;
}

// The first id at which the running sum of the kept weights passes uniform · total. A warp sums one stretch of the vocabulary;
// the warp in whose stretch the sum passes looks where.
__device__ int draw(const float* distances, int V, Key last, double uniform) {
  SHARED(Sum[kWarps], sums);
  SHARED(int, chosen);
  const int stretch = static_cast<int>(ceilDiv(ceilDiv(V, kWarps), 32)) * 32, from = warpIndex() * stretch;
  const int to = min(V, from + stretch);
  const auto weight = [&](int i) { return i < to && distanceKey(distances[i], i) <= last ? weightOf(distances[i]) : Sum{0}; };
  Sum mine = 0;
  for (int i = from + laneIndex(); i < to; i += 32) mine += weight(i);
  mine = warpSum(mine);
  if (laneIndex() == 0) sums[warpIndex()] = mine;
  if (threadIdx.x == 0) chosen = -1;
  __syncthreads();
  Sum all = 0, before = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    if (warp == warpIndex()) before = all;
    all += sums[warp];
  }
  const Sum wanted = static_cast<Sum>(uniform * static_cast<double>(all));
  const Sum target = wanted < all ? wanted : all - 1;  // the product may have been rounded up
  if (before <= target && target < before + mine) {
    for (int start = from; start < to; start += 32) {
      Sum running = weight(start + laneIndex());
      for (int distance = 1; distance < 32; distance *= 2) {
        const Sum other = __shfl_up_sync(kAllLanes, running, distance);
        if (laneIndex() >= distance) running += other;
      }
      const unsigned passed = __ballot_sync(kAllLanes, before + running > target);
      if (passed) {
        if (laneIndex() == 0) chosen = start + __ffs(static_cast<int>(passed)) - 1;
        break;
      }
      before += __shfl_sync(kAllLanes, running, 31);
    }
  }
  __syncthreads();
  return chosen;
}

__device__ int chooseToken(const Parameters& p, float* logits, int V) {
  float most = -INFINITY;
  for (int i = threadIdx.x; i < V; i += kThreads) most = fmaxf(most, logits[i]);
  most = blockMax(most);
  if (!(fabsf(most) < INFINITY)) return -1;
  if (!(p.temperature > 0)) {
    int first = V;
    for (int i = threadIdx.x; i < V; i += kThreads)
      if (logits[i] == most) first = min(first, i);
    return blockReduce(first, V, [](int x, int y) { return x < y ? x : y; });
  }
  for (int i = threadIdx.x; i < V; i += kThreads) logits[i] = (most - logits[i]) / p.temperature;
  __syncthreads();
  const Key last = lastKept(p, logits, V);
  const Philox words = philox(p.seed, kPurposeSample, p.outputIndex, 0);
  return draw(logits, V, last, uniform53(words.word[0], words.word[1]));
}

__global__ void __launch_bounds__(kThreads, 1) sampleRows(Arguments a) {
  const int64_t b = blockIdx.x;
  const float* raw = a.logits + b * a.stride;
  float* const logits = a.work + b * a.V;
  const Parameters p(a.floats + 8 * b, a.ints + 4 * b);
  const float lse = blockLogSumExp(raw, a.V);
  if (!(fabsf(lse) < INFINITY)) {
    for (int place = threadIdx.x; place < a.L; place += kThreads) {
      a.topTokens[b * a.L + place] = -1;
      a.topLogprobs[b * a.L + place] = NAN;
    }
    if (threadIdx.x == 0) {
      a.tokens[b] = -1;
      a.logprobs[b] = NAN;
    }
    return;
  }
  reportTop(a, b, raw, lse);
  for (int i = threadIdx.x; i < a.V; i += kThreads) logits[i] = raw[i];
  __syncthreads();
  addBias(a, b, logits);
  allow(a, b, logits);
  penalise(a, b, p, logits, a.counts + b * a.V);
  const int token = chooseToken(p, logits, a.V);
  if (threadIdx.x == 0) {
    a.tokens[b] = token;
    a.logprobs[b] = token < 0 ? NAN : raw[token] - lse;
  }
}

__global__ void __launch_bounds__(kThreads)
    takeSampled(const int32_t* ids, int64_t N, const int32_t* sampled, int64_t R, int32_t* y, FailureReport fail) {
  for (int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x; n < N; n += int64_t{gridDim.x} * kThreads) {
    const int32_t id = ids[n];
    const int64_t place = -1 - int64_t{id};
    if (place >= R) fail(0, id, n);
    else y[n] = place < 0 ? id : max(sampled[place], 0);
  }
}
}  // namespace

void take_sampled(const Call& call) {
  const int64_t N = call[0].elements();
  launch(call, blocksFor(N, kThreads), kThreads, 0, takeSampled, call[0].as<int32_t>(), N, call[1].as<int32_t>(),
         call[1].elements(), call[2].as<int32_t>(), FailureReport(call));
}

void sample(const Call& call) {
  const Tensor& logits = call[0];
  const int64_t B = logits.shape[0], V = logits.shape[1];
  const auto ints = [&](int index) { return call[index].present ? call[index].as<int32_t>() : nullptr; };
  const auto floats = [&](int index) { return call[index].present ? call[index].as<float>() : nullptr; };
  float* const work = call.scratch<float>(2 * B * V);
  launch(call, static_cast<unsigned>(B), kThreads, 0, sampleRows,
         Arguments{logits.as<float>(),
                   logits.rowStride,
                   static_cast<int>(V),
                   call[11].present ? static_cast<int>(call[11].shape[1]) : 0,
                   floats(1),
                   ints(2),
                   ints(3),
                   ints(4),
                   ints(5),
                   floats(6),
                   ints(7),
                   ints(8),
                   ints(9),
                   floats(10),
                   ints(11),
                   floats(12),
                   static_cast<int>(call[3].elements()),
                   call[5].present ? static_cast<int>(call[5].elements()) : 0,
                   work,
                   reinterpret_cast<int32_t*>(work + B * V),
                   FailureReport(call)});
}

}  // namespace cd::cuda
