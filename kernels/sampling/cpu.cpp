#include "../common/elementwise.h"
#include "../common/log_sum_exp.h"
#include "../common/philox.h"
#include "parameters.h"
#include "restrict.h"

namespace cd::cpu {
using namespace simd;
using sampling::Candidate;
using sampling::Parameters;

namespace {
constexpr int64_t kTile = kVocabularyTile;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// What one worker scribbles on.
struct Workspace {
  float* logits;
  float* tileWeights;
  int32_t* occurrences;
  Candidate* candidates;

  static int64_t bytes(int64_t V) { return align(V * 4) + align(vocabularyTiles(V) * 4) + align(V * 4) + align(V * 8); }
  Workspace(char* memory, int64_t V)
      : logits(reinterpret_cast<float*>(memory)),
        tileWeights(reinterpret_cast<float*>(memory += align(V * 4))),
        occurrences(reinterpret_cast<int32_t*>(memory += align(vocabularyTiles(V) * 4))),
        candidates(reinterpret_cast<Candidate*>(memory + align(V * 4))) {}

 private:
  static int64_t align(int64_t bytes) { return (bytes + 63) / 64 * 64; }
};

void fail(const char* name, const std::string& expected, int64_t received) {
  throw Error(std::string("sample: Expected '") + name + "' to " + expected + " but received " + std::to_string(received));
}
void expectOffsets(const Call& call, int index, int64_t end) {
  int64_t previous = 0;
  for (int64_t i = 0; i < call[index].elements(); ++i) {
    const int32_t offset = call[index].as<int32_t>()[i];
    if (offset < previous || offset > end)
      fail(call.name(index).c_str(), "rise from 0 to at most " + std::to_string(end), offset);
    previous = offset;
  }
}
void expectTokens(const char* name, const int32_t* tokens, int64_t count, int64_t V) {
  for (int64_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= V) fail(name, "hold tokens in [0, " + std::to_string(V) + ")", tokens[i]);
}

float largest(const float* values, int64_t V) {
  Vec result = splat(-kInfinity);
  int64_t i = 0;
  for (; i + kWidth <= V; i += kWidth) result = simd::maximum(load(values + i), result);
  if (i < V) result = simd::maximum(loadTail(values + i, V - i, -kInfinity), result);
  return simd::maximum(result);
}

void penalise(const Parameters& p, const int32_t* prompt, const int32_t* output, const int32_t* end, float* logits,
              int32_t* occurrences) {
  for (const int32_t* token = prompt; token < end; ++token) occurrences[*token] = 0;
  for (const int32_t* token = output; token < end; ++token) ++occurrences[*token];
  for (const int32_t* token = prompt; token < end; ++token) {
    int32_t& count = occurrences[*token];
    if (count < 0) continue;  // done at an earlier occurrence
    float& logit = logits[*token];
    logit = logit > 0 ? logit / p.repetitionPenalty : logit * p.repetitionPenalty;
    if (count > 0) logit = logit - p.frequencyPenalty * static_cast<float>(count) - p.presencePenalty;
    count = -1;
  }
}

void allow(const int32_t* mask, float* logits, int64_t V) {
  for (int64_t start = 0; start < V; start += 32)
    for (uint32_t denied = ~static_cast<uint32_t>(mask[start / 32]); denied; denied &= denied - 1)
      if (const int64_t i = start + __builtin_ctz(denied); i < V) logits[i] = -kInfinity;
}

// e^−distance of the tokens of one tile that are kept, 0 for the others.
void tileWeights(const float* distances, int64_t start, int64_t count, Candidate last, float* weights) {
  IVec id;
  for (int lane = 0; lane < kWidth; ++lane) id[lane] = static_cast<int32_t>(start) + lane;
  for (int64_t i = 0; i < count; i += kWidth, id += kWidth) {
    const Vec distance = count - i < kWidth ? loadTail(distances + start + i, count - i, kInfinity) : load(distances + start + i);
    const IVec kept = (distance < last.distance) | ((distance == last.distance) & (id <= last.id));
    store(weights + i, kept ? simd::exp(-distance) : Vec{});
  }
}

int32_t draw(const float* distances, int64_t V, Candidate last, double uniform, float* sums) {
  float weights[kTile];
  double total = 0;
  for (int64_t tile = 0; tile < vocabularyTiles(V); ++tile) {
    const int64_t start = tile * kTile, count = std::min(kTile, V - start);
    tileWeights(distances, start, count, last, weights);
    Vec sum{};
    for (int64_t i = 0; i < count; i += kWidth) sum += load(weights + i);
    sums[tile] = simd::sum(sum);
    total += sums[tile];
  }
  // The first token at which the running sum passes the target; should rounding keep it from passing, the last with a chance.
  const double target = uniform * total;
  int64_t chosen = -1;
  double before = 0, sum = 0;
  for (int64_t tile = 0; tile < vocabularyTiles(V) && sum <= target; sum += sums[tile++])
    if (sums[tile] > 0) chosen = tile, before = sum;
  if (chosen < 0) return -1;
  const int64_t start = chosen * kTile, count = std::min(kTile, V - start);
  tileWeights(distances, start, count, last, weights);
  int64_t token = -1;
  for (int64_t i = 0; i < count; ++i) {
    if (weights[i] <= 0) continue;
    token = start + i;
    before += weights[i];
    if (before > target) break;
  }
  return static_cast<int32_t>(token);
}

int32_t chooseToken(const Parameters& p, float* logits, int64_t V, const Workspace& work) {
  const float best = largest(logits, V);
  if (!std::isfinite(best)) return -1;
  if (!(p.temperature > 0)) {
    int64_t token = 0;
    while (logits[token] != best) ++token;
    return static_cast<int32_t>(token);
  }
  map(V, logits, [&](Vec x) { return (best - x) / p.temperature; }, logits);
  Candidate last = sampling::kKeepAll;
  if ((p.topK > 0 && p.topK < V) || p.topP < 1 || p.minP > 0) {
    sampling::Restriction restriction(logits, V, work.candidates);
    restriction.topK(p.topK);
    restriction.topP(p.topP);
    restriction.minP(p.minP);
    last = restriction.last();
  }
  const Philox words = philox(p.seed, kPurposeSample, p.outputIndex, 0);
  return draw(logits, V, last, uniform53(words.word[0], words.word[1]), work.tileWeights);
}

void reportTop(const float* logits, int64_t V, float lse, int64_t L, int32_t* tokens, float* logprobs) {
  int64_t found = 0;
  for (int64_t i = 0; i < V && L > 0; ++i) {
    if (found == L && !(logits[i] > logprobs[L - 1])) continue;
    int64_t place = found < L ? found++ : L - 1;
    for (; place > 0 && logits[i] > logprobs[place - 1]; --place) {
      logprobs[place] = logprobs[place - 1];
      tokens[place] = tokens[place - 1];
    }
    logprobs[place] = logits[i];
    tokens[place] = static_cast<int32_t>(i);
  }
  for (int64_t place = 0; place < L; ++place) {
    logprobs[place] = place < found ? logprobs[place] - lse : -kInfinity;
    if (place >= found) tokens[place] = -1;
  }
}

void sampleRow(const Call& call, int64_t b, const Workspace& work) {
  const int64_t V = call[0].shape[1], L = call[11].present ? call[11].shape[1] : 0;
  const float* raw = call[0].row<float>(b);
  const Parameters p(call[1].row<float>(b), call[2].row<int32_t>(b));
  int32_t *token = call[9].as<int32_t>() + b, *topTokens = L ? call[11].row<int32_t>(b) : nullptr;
  float *logprob = call[10].as<float>() + b, *topLogprobs = L ? call[12].row<float>(b) : nullptr;
  const float lse = logSumExp(raw, V);
  *token = -1;
  *logprob = kNaN;
  if (!std::isfinite(lse)) {
    for (int64_t place = 0; place < L; ++place) topTokens[place] = -1, topLogprobs[place] = kNaN;
    return;
  }
  reportTop(raw, V, lse, L, topTokens, topLogprobs);
  std::memcpy(work.logits, raw, sizeof(float) * V);
  if (call[5].present)
    for (int32_t i = call[7].as<int32_t>()[b]; i < call[7].as<int32_t>()[b + 1]; ++i)
      work.logits[call[5].as<int32_t>()[i]] += call[6].as<float>()[i];
  if (call[8].present) allow(call[8].row<int32_t>(b), work.logits, V);
  if (p.hasPenalties()) {
    const int32_t *history = call[3].as<int32_t>(), *offsets = call[4].as<int32_t>() + 2 * b;
    expectTokens("history", history + offsets[0], offsets[2] - offsets[0], V);
    penalise(p, history + offsets[0], history + offsets[1], history + offsets[2], work.logits, work.occurrences);
  }
  *token = chooseToken(p, work.logits, V, work);
  if (*token >= 0) *logprob = raw[*token] - lse;
}
}  // namespace

void sample(const Call& call) {
  const int64_t B = call[0].shape[0], V = call[0].shape[1];
  if (B == 0) return;
  expectOffsets(call, 4, call[3].elements());
  if (call[5].present) {
    expectOffsets(call, 7, call[5].elements());
    expectTokens("biasTokens", call[5].as<int32_t>(), call[5].elements(), V);
  }
  const int64_t bytes = Workspace::bytes(V);
  char* memory = call.scratch<char>(bytes * call.parallel->workers());
  call.parallelFor(B, [&](int64_t b, int worker) { sampleRow(call, b, Workspace(memory + worker * bytes, V)); });
}

void take_sampled(const Call& call) {
  const int32_t *ids = call[0].as<int32_t>(), *sampled = call[1].as<int32_t>();
  for (int64_t n = 0; n < call[0].elements(); ++n) {
    const int64_t place = -1 - int64_t{ids[n]};
    if (place >= call[1].elements()) throw Error(call.op->explain(call, {1, 0, {ids[n], n}}));
    call[2].as<int32_t>()[n] = place < 0 ? ids[n] : std::max(sampled[place], 0);
  }
}

}  // namespace cd::cpu
