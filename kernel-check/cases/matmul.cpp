#include "../case.h"

namespace cd::check {

namespace {
struct Sizes {
  int64_t M, N, K;
};

std::string named(const Sizes& s, DType input, DType result) {
  return std::string(dtypeName(input)) + " to " + dtypeName(result) + " " + std::to_string(s.M) + " x " + std::to_string(s.N) +
         " x " + std::to_string(s.K);
}

// Of sums over K of products of normal numbers, in two orders: a few roundings at the size that partial sums have. Tensor cores
// round less carefully.
double absolute(int64_t K, DType input) { return static_cast<double>(K + 1) * (input == DType::F32 ? 0x1p-22 : 0x1p-20); }

Argument left(const Sizes& s, DType dtype, bool transposed) {
  return normal(dtype, transposed ? Shape{s.K, s.M} : Shape{s.M, s.K});
}
Argument right(const Sizes& s, DType dtype, bool transposed) {
  return normal(dtype, transposed ? Shape{s.N, s.K} : Shape{s.K, s.N});
}
}  // namespace

CASES(matmul) {
  constexpr DType kPairs[][2] = {
      {DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::BF16, DType::F32}, {DType::F32, DType::BF16}};
  const char* const kTurned[] = {"", ", b turned", ", a turned", ", both turned"};
  for (const auto& [input, result] : kPairs)
    for (int turned = 0; turned < 4; ++turned) {
      const bool a = turned & 2, b = turned & 1;
      // One element, none, less than a tile, tiles and a rest, steps of K and a rest, 16-byte rows and others.
      for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{0, 5, 3}, Sizes{5, 0, 3}, Sizes{3, 5, 0}, Sizes{3, 5, 7}, Sizes{17, 40, 33},
                             turned % 3 ? Sizes{129, 136, 72} : Sizes{130, 65, 100}})
        add(named(s, input, result) + kTurned[turned])
            .attributes({double(a), double(b), 0, 1})
            .tensors({left(s, input, a), right(s, input, b), output(result, {s.M, s.N})})
            .bound(1, absolute(s.K, input));
      const Sizes s{19, 72, 48};
      add(named(s, input, result) + kTurned[turned] + ", added to rows")
          .attributes({double(a), double(b), 1, -0.5})
          .tensors({left(s, input, a).narrowed(56), right(s, input, b).narrowed(80), normal(result, {s.M, s.N}).narrowed(77)})
          .bound(1, absolute(s.K, input));
      add(named(s, input, result) + kTurned[turned] + ", not aligned")
          .attributes({double(a), double(b), 0, 2})
          .tensors({left(s, input, a).shifted(1), right(s, input, b).shifted(3), output(result, {s.M, s.N}).shifted(1)})
          .bound(1, 2 * absolute(s.K, input));
    }
  // Nothing of K may be dropped: ones come to K exactly.
  for (int64_t K : {4095, 4097, 4104})
    for (int64_t M : {1, 20})
      for (DType input : {DType::F32, DType::BF16}) {
        const Sizes s{M, 24, K};
        add(named(s, input, DType::F32) + " of ones")
            .attributes({0, 1, 0, 1})
            .tensors({constant(input, {M, K}, 1), constant(input, {24, K}, 1), output(DType::F32, {M, 24})})
            .bound(0);
      }
}

CASES(matmul_low_rank) {
  constexpr DType kPairs[][2] = {{DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::BF16, DType::F32}};
  for (const auto& [input, result] : kPairs)
    for (bool b : {true, false}) {
      const auto listed = [&, input = input, result = result](const std::string& name, const Sizes& s, int64_t R, bool accumulate,
                                                              int64_t stride, int64_t shift, bool packed = true) {
        const auto made = [&](const Argument& argument) { return argument.narrowed(stride).shifted(shift); };
        const Sizes low{s.M, s.N, R};
        add(named(s, input, result) + " and " + std::to_string(R) + (b ? ", turned" : "") + name)
            .attributes({double(b), double(accumulate), 0.75, double(packed)})
            .tensors({made(left(s, input, false)), made(right(s, input, b)), made(left(low, input, false)),
                      made(right(low, input, b)), made(accumulate ? normal(result, {s.M, s.N}) : output(result, {s.M, s.N}))})
            .bound(1, absolute(s.K + R, input));
      };
      listed("", {1, 1, 1}, 1, false, 0, 0);
      listed("", {0, 5, 3}, 2, false, 0, 0);
      listed("", {5, 0, 3}, 2, false, 0, 0);
      listed("", {17, 40, 33}, 5, false, 0, 0);
      // More than a tile of each side, more of K than a ring of tiles holds, a rest of each.
      if (result == DType::BF16) listed("", {130, 264, 264}, 72, false, 0, 0);
      listed(", added to rows", {40, 72, 136}, 16, true, 280, 0);
      listed(", the last columns alone", {3, 263, 8}, 8, true, 280, 0);
      listed(", not aligned", {19, 48, 24}, 8, false, 0, 1);
      listed(", in any number", {19, 48, 24}, 8, true, 0, 0, false);
    }
}

}  // namespace cd::check
