#include <cmath>

#include "../../kernels/common/fp8.h"
#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};

// Outputs are averages of values of size 1. In bf16 both sides round each probability once, in units that may differ.
double absolute(DType dtype) { return dtype == DType::F32 ? 2e-5 : 0.02; }

struct Packed {
  std::vector<double> cuSeqlens;
  int64_t H, G, D;
  double window = 0;
  int64_t T() const { return static_cast<int64_t>(cuSeqlens.back()); }
  double scale() const { return 1 / std::sqrt(static_cast<double>(D)); }
  std::string text(DType dtype) const {
    return check::text(dtype, {T(), H, D}) + " on " + std::to_string(G) + ", " + std::to_string(cuSeqlens.size() - 1) +
           " documents" + (window > 0 ? ", window " + std::to_string(static_cast<int>(window)) : "");
  }
  Argument query(DType dtype) const { return normal(dtype, {T(), H, D}); }
  Argument key(DType dtype) const { return normal(dtype, {T(), G, D}); }
  Argument bounds() const { return list(DType::I32, cuSeqlens); }
};

// Tiles of 64 and rests, documents of no and of one token, a document longer than two tiles, every kind of head.
const Packed kPacked[] = {
    {{0}, 2, 1, 8},        {{0, 1}, 1, 1, 1},       {{0, 0, 1, 6, 6, 40}, 4, 2, 20}, {{0, 7, 73}, 3, 3, 64},
    {{0, 130}, 2, 1, 128}, {{0, 3, 70}, 2, 1, 256}, {{0, 150}, 6, 2, 64, 33},        {{0, 5, 140}, 2, 2, 33, 70},
};

// A cache whose sequences take blocks from the end on. Slots that belong to none are not numbers: nobody may read them.
struct Paged {
  std::vector<double> queries, contexts;
  int64_t slots, H, G, D;
  double window = 0;

  int64_t blocksOf(size_t sequence) const { return (static_cast<int64_t>(contexts[sequence]) + slots - 1) / slots; }
  int64_t blocks() const {
    int64_t sum = 2;
    for (size_t b = 0; b < contexts.size(); ++b) sum += blocksOf(b);
    return sum;
  }
  int64_t width() const {
    int64_t most = 1;
    for (size_t b = 0; b < contexts.size(); ++b) most = std::max(most, blocksOf(b));
    return most;
  }
  Argument cache(DType dtype) const {
    std::vector<bool> valid(static_cast<size_t>(blocks() * slots), false);
    int64_t next = blocks();
    for (size_t b = 0; b < contexts.size(); ++b)
      for (int64_t block = 0; block < blocksOf(b); ++block) {
        --next;
        for (int64_t slot = 0; slot < slots && block * slots + slot < static_cast<int64_t>(contexts[b]); ++slot)
          valid[static_cast<size_t>(next * slots + slot)] = true;
      }
    Argument argument = normal(dtype, {blocks(), slots, G, D});
    const int64_t row = G * D;
    argument.value = [valid, row, dtype](Random& random, int64_t index) -> double {
      const double value = valid[static_cast<size_t>(index / row)] ? random.normal() : NAN;
      if (dtype == DType::FP8) return toFloat8(static_cast<float>(value)).bits;
      return value;
    };
    return argument;
  }
  Argument table() const {
    std::vector<double> entries;
    int64_t next = blocks();
    for (size_t b = 0; b < contexts.size(); ++b)
      for (int64_t block = 0; block < width(); ++block) entries.push_back(block < blocksOf(b) ? static_cast<double>(--next) : -1);
    return list(DType::I32, entries, {static_cast<int64_t>(contexts.size()), width()});
  }
  std::vector<double> bounds() const {
    std::vector<double> bounds = {0};
    for (double count : queries) bounds.push_back(bounds.back() + count);
    return bounds;
  }
  // With a cache of the same dtype, and of fp8.
  void listed(DType dtype, bool withSinks, const std::string& name) const {
    const int64_t T = static_cast<int64_t>(bounds().back());
    for (DType cached : {dtype, DType::FP8})
      add(std::string(dtypeName(dtype)) + (cached == dtype ? " " : " on fp8 ") + name)
          .attributes({1 / std::sqrt(static_cast<double>(D)), window})
          .tensors({normal(dtype, {T, H, D}), cache(cached), cache(cached), table(), list(DType::I32, bounds()),
                    list(DType::I32, contexts), withSinks ? normal(DType::F32, {H}) : absent(), output(dtype, {T, H, D})})
          .bound(1, absolute(dtype));
  }
};
}  // namespace

CASES(attention) {
  for (DType dtype : kFloats) {
    for (const Packed& p : kPacked)
      for (bool sinks : {false, true})
        add(p.text(dtype) + (sinks ? ", sinks" : ""))
            .attributes({p.scale(), p.window})
            .tensors({p.query(dtype), p.key(dtype), p.key(dtype), p.bounds(), sinks ? normal(DType::F32, {p.H}) : absent(),
                      output(dtype, {p.T(), p.H, p.D}),
                      output(DType::F32, {p.T(), p.H}).bounded(4, dtype == DType::F32 ? 1e-5 : 1e-4)})
            .bound(1, absolute(dtype));
    // q, k and v beside each other in one product, as a model makes them.
    const Packed p{{0, 9, 75}, 2, 1, 64};
    add(p.text(dtype) + ", rows of a wider tensor")
        .attributes({p.scale(), 0})
        .tensors({p.query(dtype).narrowed(80), p.key(dtype).narrowed(72), p.key(dtype).narrowed(67).shifted(1), p.bounds(),
                  absent(), output(dtype, {p.T(), p.H, p.D}).narrowed(72), output(DType::F32, {p.T(), p.H}).bounded(4, 1e-4)})
        .bound(1, absolute(dtype));
  }
  // Many tiles, which go through every stage more than once; a document beside one that is not finite.
  for (const Packed& p : {Packed{{0, 37, 700}, 2, 1, 64}, Packed{{0, 500, 640}, 3, 1, 128, 300}, Packed{{0, 330}, 2, 2, 256}})
    add(p.text(DType::BF16) + ", long")
        .attributes({p.scale(), p.window})
        .tensors({p.query(DType::BF16), p.key(DType::BF16), p.key(DType::BF16), p.bounds(), absent(),
                  output(DType::BF16, {p.T(), p.H, p.D}), output(DType::F32, {p.T(), p.H}).bounded(4, 1e-4)})
        .bound(1, absolute(DType::BF16));
  for (int64_t D : {64, 128, 256}) {
    const Packed p{{0, 70, 90}, 2, 1, D};
    Argument broken = p.key(DType::BF16);
    broken.value = [D](Random& random, int64_t index) { return index / D < 70 ? random.normal() : NAN; };
    add(p.text(DType::BF16) + ", one of them not finite")
        .attributes({p.scale(), 0})
        .tensors({p.query(DType::BF16), broken, broken, p.bounds(), absent(), output(DType::BF16, {p.T(), p.H, p.D}),
                  output(DType::F32, {p.T(), p.H}).bounded(4, 1e-4)})
        .bound(1, absolute(DType::BF16));
  }
  for (const std::vector<double>& bounds : {std::vector<double>{0, 5, 4, 9}, {1, 9}, {0, 8}, {0, 10}})
    add("documents " + std::to_string(static_cast<int>(bounds[0])) + " … " + std::to_string(static_cast<int>(bounds.back())) +
        " of 9, " + std::to_string(bounds.size()) + " bounds")
        .attributes({0.3, 0})
        .tensors({normal(DType::F32, {9, 2, 8}), normal(DType::F32, {9, 1, 8}), normal(DType::F32, {9, 1, 8}),
                  list(DType::I32, bounds), absent(), output(DType::F32, {9, 2, 8}), output(DType::F32, {9, 2})});
}

// lse and o need not be those of the forward: the formulas hold for any, and lse keeps probabilities below 1.
CASES(attention_backward) {
  for (DType dtype : kFloats)
    for (const Packed& p : kPacked)
      add(p.text(dtype))
          .attributes({p.scale(), p.window})
          .tensors({p.query(dtype), p.key(dtype), p.key(dtype), p.bounds(), normal(dtype, {p.T(), p.H, p.D}, 0.3),
                    uniform(DType::F32, {p.T(), p.H}, 5, 7), normal(dtype, {p.T(), p.H, p.D}), output(dtype, {p.T(), p.H, p.D}),
                    output(dtype, {p.T(), p.G, p.D}), output(dtype, {p.T(), p.G, p.D})})
          .bound(2, dtype == DType::F32 ? 1e-4 : 0.1);
  const DType bf16 = DType::BF16;
  // Many tiles of queries and of keys, which take turns at what they add to; a document beside one that is not finite.
  for (const Packed& p : {Packed{{0, 37, 420}, 2, 1, 64}, Packed{{0, 280, 300}, 3, 1, 128, 150}, Packed{{0, 210}, 2, 2, 256}})
    add(p.text(bf16) + ", long")
        .attributes({p.scale(), p.window})
        .tensors({p.query(bf16), p.key(bf16), p.key(bf16), p.bounds(), normal(bf16, {p.T(), p.H, p.D}, 0.3),
                  uniform(DType::F32, {p.T(), p.H}, 5, 7), normal(bf16, {p.T(), p.H, p.D}), output(bf16, {p.T(), p.H, p.D}),
                  output(bf16, {p.T(), p.G, p.D}), output(bf16, {p.T(), p.G, p.D})})
        .bound(2, 0.1);
  for (int64_t D : {64, 128, 256}) {
    const Packed p{{0, 70, 90}, 2, 1, D};
    const auto broken = [](Argument argument, int64_t row) {
      argument.value = [row](Random& random, int64_t index) { return index / row < 70 ? random.normal() : NAN; };
      return argument;
    };
    const Argument query = broken(p.query(bf16), 2 * D), key = broken(p.key(bf16), D);
    add(p.text(bf16) + ", one of them not finite")
        .attributes({p.scale(), 0})
        .tensors({query, key, key, p.bounds(), normal(bf16, {p.T(), p.H, p.D}, 0.3), uniform(DType::F32, {p.T(), p.H}, 5, 7),
                  query, output(bf16, {p.T(), p.H, p.D}), output(bf16, {p.T(), p.G, p.D}), output(bf16, {p.T(), p.G, p.D})})
        .bound(2, 0.1);
  }
}

CASES(kv_write) {
  for (DType dtype : kFloats) {
    const auto listed = [dtype](const std::string& name, std::vector<double> slots, int64_t G, int64_t D, int64_t stride) {
      const int64_t T = static_cast<int64_t>(slots.size());
      const auto given = [&] { return normal(dtype, {T, G, D}, 100).narrowed(stride); };
      for (DType cached : {dtype, DType::FP8}) {
        const auto cache = [&] { return cached == dtype ? normal(dtype, {5, 3, G, D}) : codes({5, 3, G, D}); };
        const std::string text = std::string(dtypeName(dtype)) + (cached == dtype ? " " : " to fp8, ") + name;
        add(text).tensors({given(), given(), list(DType::I32, slots, {T}), cache(), cache(), absent(), absent()}).bound(0);
        const int64_t turned = D > 16 ? D / 4 * 2 : D / 2 * 2;
        const Argument angles = uniform(DType::F32, {T, turned}, -1, 1);
        add(text + ", turned")
            .tensors({given(), given(), list(DType::I32, slots, {T}), cache(), cache(), angles, normal(dtype, {T, 2 * G, D})})
            .bound(0);
        add(text + ", keys turned")
            .tensors({given(), given(), list(DType::I32, slots, {T}), cache(), cache(), angles, absent()})
            .bound(0);
      }
    };
    listed("nothing", {}, 2, 8, 0);
    listed("one", {14}, 1, 1, 0);
    listed("some skipped", {7, -1, 0, 14, -1, 3}, 2, 33, 0);
    listed("rows of a wider tensor", {2, 9, -1, 4}, 3, 64, 72);
    listed("crooked rows", {2, 9, -1, 4}, 3, 64, 67);
    listed("heads of 128", {13, 0, -1}, 2, 128, 0);
  }
  add("fp8 blocks to others")
      .tensors({codes({3, 2, 20}), codes({3, 2, 20}), list(DType::I32, {4, 3, 14}), codes({5, 3, 2, 20}), codes({5, 3, 2, 20}),
                absent(), absent()})
      .bound(0);
  for (double slot : {15.0, -2.0})
    add("slot " + std::to_string(static_cast<int>(slot)) + " of 15")
        .tensors({normal(DType::F32, {2, 1, 8}), normal(DType::F32, {2, 1, 8}), list(DType::I32, {3, slot}),
                  normal(DType::F32, {5, 3, 1, 8}), normal(DType::F32, {5, 3, 1, 8}), absent(), absent()});
}

CASES(paged_attention) {
  for (DType dtype : kFloats) {
    Paged{{}, {}, 4, 2, 1, 8}.listed(dtype, false, "nothing");
    Paged{{1}, {1}, 1, 1, 1, 1}.listed(dtype, false, "one key");
    Paged{{1, 5, 67}, {70, 9, 67}, 7, 4, 2, 33}.listed(dtype, true, "decode, a chunk and a whole prompt, sinks");
    Paged{{1, 1, 1, 0, 1}, {1, 64, 65, 0, 200}, 16, 6, 2, 64}.listed(dtype, false, "decode");
    Paged{{1, 3}, {1100, 1030}, 16, 8, 1, 128}.listed(dtype, false, "long contexts");
    Paged{{1, 40}, {150, 130}, 16, 4, 4, 64, 70}.listed(dtype, true, "window of 70");
    Paged{{1, 2}, {90, 3}, 16, 2, 1, 256}.listed(dtype, false, "head size 256");
    Paged{{1, 1, 3, 1}, {1024, 17, 40, 1025}, 16, 20, 1, 64}.listed(dtype, true, "20 heads on one, one split and two");
    Paged{{1, 1}, {2080, 1}, 7, 3, 1, 128, 1040}.listed(dtype, false, "window over two splits of three");
  }
}

}  // namespace cd::check
