#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};

struct Sizes {
  int64_t T, E, V;
};
// Nothing, one of everything, less than a tile, more than a tile of the vocabulary, more tokens than a tile.
const Sizes kSizes[] = {{0, 8, 5}, {1, 1, 1}, {7, 33, 67}, {5, 40, 1100}, {130, 24, 70}};
// In bf16: more tiles of each side than a block has at once, more of K than a ring of them holds.
const Sizes kLarge{130, 264, 300};

std::string named(DType dtype, const Sizes& s) {
  return std::string(dtypeName(dtype)) + " " + std::to_string(s.T) + " tokens, " + std::to_string(s.E) + " wide, " +
         std::to_string(s.V) + " words";
}
Argument hidden(DType dtype, const Sizes& s) { return normal(dtype, {s.T, s.E}); }
Argument weight(DType dtype, const Sizes& s) { return normal(dtype, {s.V, s.E}, 2 / std::sqrt(static_cast<double>(s.E))); }
Argument targets(const Sizes& s) { return integers({s.T}, -1, s.V); }
Argument perToken(const Sizes& s) { return output(DType::F32, {s.T}).bounded(4, 1e-4); }

// Gradients are products of d, which is at most 1 and may be rounded to bf16 on either side, summed over words or tokens.
double gradient(DType dtype) { return dtype == DType::F32 ? 1e-4 : 0.05; }
const Sizes kBad{4, 8, 6};
Argument badTargets(double target) { return list(DType::I32, {0, 5, target, -1}); }
}  // namespace

CASES(token_logprobs) {
  for (DType dtype : kFloats) {
    for (const Sizes& s : kSizes)
      add(named(dtype, s)).tensors({hidden(dtype, s), weight(dtype, s), targets(s), perToken(s), perToken(s)});
    if (dtype == DType::BF16)
      add(named(dtype, kLarge))
          .tensors({hidden(dtype, kLarge), weight(dtype, kLarge), targets(kLarge), perToken(kLarge), perToken(kLarge)});
    const Sizes s{6, 20, 30};
    add(named(dtype, s) + ", rows")
        .tensors({hidden(dtype, s).narrowed(24), weight(dtype, s).narrowed(23), targets(s), perToken(s), perToken(s)});
    add(named(dtype, s) + ", targets elsewhere")
        .tensors({hidden(dtype, s), weight(dtype, s), list(DType::I32, {-2, 3, -1, -2, 29, 0}), perToken(s), perToken(s)});
  }
  for (double target : {6.0, -3.0})
    add("target " + std::to_string(static_cast<int>(target)) + " of 6")
        .tensors({hidden(DType::F32, kBad), weight(DType::F32, kBad), badTargets(target), perToken(kBad), perToken(kBad)});
}

CASES(token_logprobs_backward) {
  for (DType dtype : kFloats)
    for (const Sizes& s : kSizes)
      for (bool withWeight : {true, false})
        add(named(dtype, s) + (withWeight ? "" : ", frozen head"))
            .tensors({hidden(dtype, s), weight(dtype, s), targets(s), uniform(DType::F32, {s.T}, 4, 9), normal(DType::F32, {s.T}),
                      output(dtype, {s.T, s.E}), withWeight ? normal(DType::F32, {s.V, s.E}) : absent()})
            .bound(1, gradient(dtype));
  add(named(DType::BF16, kLarge))
      .tensors({hidden(DType::BF16, kLarge), weight(DType::BF16, kLarge), targets(kLarge), uniform(DType::F32, {kLarge.T}, 4, 9),
                normal(DType::F32, {kLarge.T}), output(DType::BF16, {kLarge.T, kLarge.E}),
                normal(DType::F32, {kLarge.V, kLarge.E})})
      .bound(1, gradient(DType::BF16));
  const Sizes part{6, 20, 30};
  add("targets elsewhere")
      .tensors({hidden(DType::F32, part), weight(DType::F32, part), list(DType::I32, {-2, 3, -1, -2, 29, 0}),
                uniform(DType::F32, {part.T}, 4, 9), normal(DType::F32, {part.T}), output(DType::F32, {part.T, part.E}),
                normal(DType::F32, {part.V, part.E})})
      .bound(1, 1e-4);
  for (double target : {6.0, -3.0})
    add("target " + std::to_string(static_cast<int>(target)) + " of 6")
        .tensors({hidden(DType::F32, kBad), weight(DType::F32, kBad), badTargets(target), constant(DType::F32, {4}, 3),
                  constant(DType::F32, {4}, 1), output(DType::F32, {4, 8}), absent()});
}

CASES(linear_cross_entropy) {
  for (DType dtype : kFloats)
    for (const Sizes& s : kSizes)
      for (bool withWeight : {true, false})
        add(named(dtype, s) + (withWeight ? "" : ", frozen head"))
            .tensors({hidden(dtype, s), weight(dtype, s), targets(s), uniform(DType::F32, {s.T}, 0, 1), perToken(s),
                      output(dtype, {s.T, s.E}), withWeight ? normal(DType::F32, {s.V, s.E}) : absent()})
            .bound(1, gradient(dtype));
  add(named(DType::BF16, kLarge))
      .tensors({hidden(DType::BF16, kLarge), weight(DType::BF16, kLarge), targets(kLarge), uniform(DType::F32, {kLarge.T}, 0, 1),
                perToken(kLarge), output(DType::BF16, {kLarge.T, kLarge.E}), normal(DType::F32, {kLarge.V, kLarge.E})})
      .bound(1, gradient(DType::BF16));
  const Sizes s{6, 20, 30};
  add("tokens without weight")
      .tensors({hidden(DType::F32, s), weight(DType::F32, s), targets(s), list(DType::F32, {0, 1, 0, 0, 2, 0}), perToken(s),
                output(DType::F32, {s.T, s.E}), normal(DType::F32, {s.V, s.E})})
      .bound(1, 1e-4);
  for (double target : {6.0, -2.0})
    add("target " + std::to_string(static_cast<int>(target)) + " of 6")
        .tensors({hidden(DType::F32, kBad), weight(DType::F32, kBad), badTargets(target), constant(DType::F32, {4}, 1),
                  perToken(kBad), output(DType::F32, {4, 8}), absent()});
}

CASES(merge_logprobs) {
  const auto listed = [](int64_t N, int64_t T, int64_t V) {
    add(std::to_string(N) + " parts, " + std::to_string(T) + " tokens, " + std::to_string(V) + " words")
        .attributes({static_cast<double>(V)})
        .tensors({integers({T}, -1, V), normal(DType::F32, {N, 2, T}, 4), perToken({T, 0, 0}), perToken({T, 0, 0})});
  };
  listed(1, 1, 1);
  listed(2, 0, 5);
  listed(4, 700, 67);
  listed(3, 33, 3);
  for (double target : {6.0, -2.0})
    add("target " + std::to_string(static_cast<int>(target)) + " of 6")
        .attributes({6})
        .tensors({badTargets(target), normal(DType::F32, {2, 2, 4}), perToken(kBad), perToken(kBad)});
}

}  // namespace cd::check
