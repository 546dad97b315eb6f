#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
// What one row asks for; defaults leave the distribution as it is.
struct Row {
  double temperature = 1, topP = 1, minP = 0, presence = 0, frequency = 0, repetition = 1, topK = 0;
};

struct Batch {
  int64_t V, alternatives = 0;
  std::vector<Row> rows;
  bool history = false, biases = false, mask = false;

  void listed(const std::string& name, Argument logits) const {
    const int64_t B = static_cast<int64_t>(rows.size());
    std::vector<double> floats, ints, historyOffsets = {0}, biasOffsets = {0};
    for (size_t b = 0; b < rows.size(); ++b) {
      const Row& row = rows[b];
      floats.insert(floats.end(), {row.temperature, row.topP, row.minP, row.presence, row.frequency, row.repetition, 0, 0});
      ints.insert(ints.end(), {row.topK, static_cast<double>(12345 + b), 77, static_cast<double>(3 * b)});
      const double prompt = history ? 3 : 0, replied = history ? 4 : 0;
      historyOffsets.push_back(historyOffsets.back() + prompt);
      historyOffsets.push_back(historyOffsets.back() + replied);
      biasOffsets.push_back(biasOffsets.back() + (b % 2 ? 2 : 0));
    }
    const int64_t N = static_cast<int64_t>(historyOffsets.back()), M = static_cast<int64_t>(biasOffsets.back());
    add(name).tensors({std::move(logits), list(DType::F32, floats, {B, 8}), list(DType::I32, ints, {B, 4}), integers({N}, 0, V),
                       list(DType::I32, historyOffsets), biases ? integers({M}, 0, V) : absent(),
                       biases ? normal(DType::F32, {M}, 5) : absent(), biases ? list(DType::I32, biasOffsets) : absent(),
                       mask ? integers({B, (V + 31) / 32}, -2147483647, 2147483647) : absent(), output(DType::I32, {B}),
                       output(DType::F32, {B}).bounded(4, 1e-5),
                       alternatives > 0 ? output(DType::I32, {B, alternatives}) : absent(),
                       alternatives > 0 ? output(DType::F32, {B, alternatives}).bounded(4, 1e-5) : absent()});
  }
  void listed(const std::string& name) const { listed(name, normal(DType::F32, {static_cast<int64_t>(rows.size()), V}, 3)); }
};

const std::vector<Row> kMixed = {{0}, {}, {0.7, 0.9}, {1.3, 1, 0.05}, {1, 0.5, 0, 0, 0, 1, 7}, {0.9, 0.95, 0.01, 0, 0, 1, 40}};
}  // namespace

CASES(sample) {
  Batch{.V = 5, .rows = {}}.listed("no rows");
  Batch{.V = 1, .alternatives = 1, .rows = {{}}}.listed("one word");
  for (int64_t V : {7, 511, 1033}) Batch{.V = V, .alternatives = 3, .rows = kMixed}.listed(std::to_string(V) + " words");
  Batch{.V = 131, .rows = {{0, 1, 0, 0.5, 0.3, 1.2}, {1, 0.9, 0, 0, 0, 1.5}, {1, 1, 0, 2, 0}, {0.8, 1, 0, 0, 1}}, .history = true}
      .listed("penalties");
  Batch{.V = 131, .alternatives = 2, .rows = kMixed, .biases = true}.listed("biases");
  Batch{.V = 131, .alternatives = 2, .rows = kMixed, .mask = true}.listed("mask");
  Batch{.V = 70, .rows = kMixed}.listed("narrowed", normal(DType::F32, {6, 70}, 2).narrowed(77));
  Batch{.V = 3, .alternatives = 5, .rows = {{}, {0}}}.listed("more alternatives than words");
  Batch{.V = 4, .rows = {{}, {0}, {}, {}}}.listed(
      "equal and impossible words",
      list(DType::F32, {1, 1, 1, 1, 2, 2, 2, 2, -INFINITY, -INFINITY, 0, -INFINITY, NAN, 0, 0, 0}, {4, 4}));
}

CASES(take_sampled) {
  const auto listed = [](const std::string& name, std::vector<double> ids, std::vector<double> sampled) {
    const int64_t N = static_cast<int64_t>(ids.size()), R = static_cast<int64_t>(sampled.size());
    add(name).tensors({list(DType::I32, ids, {N}), list(DType::I32, sampled, {R}), output(DType::I32, {N})}).bound(0);
  };
  listed("nothing", {}, {});
  listed("one", {-1}, {7});
  listed("known and sampled ones", {5, -3, 0, -1, -2, 2147483647, -1}, {11, 0, 13});
  listed("a row without a token", {-1, -2, 3}, {-1, 9});
  std::vector<double> ids;
  for (int n = 0; n < 1501; ++n) ids.push_back(n % 3 ? n : -1 - n % 64);
  std::vector<double> sampled;
  for (int r = 0; r < 64; ++r) sampled.push_back(1000 + r);
  listed("more than a block takes", ids, sampled);
  listed("a place beyond", {4, -4, 2}, {1, 2, 3});
}

}  // namespace cd::check
