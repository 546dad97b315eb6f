#include "../case.h"

namespace cd::check {

namespace {
enum class Form { Tensor, Block, Mxfp4 };
struct Sizes {
  int64_t M, N, K, firstRow = 0, firstColumn = 0;
};

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

std::string named(Form form, const Sizes& s) {
  const char* const forms[] = {"fp8, one scale", "fp8, blocks", "mxfp4"};
  return std::string(forms[static_cast<int>(form)]) + " " + std::to_string(s.M) + " x " + std::to_string(s.N) + " x " +
         std::to_string(s.K) +
         (s.firstRow || s.firstColumn ? " from " + std::to_string(s.firstRow) + ", " + std::to_string(s.firstColumn) : "");
}

// Weights that come to about normal numbers.
Argument weight(Form form, const Sizes& s) {
  return form == Form::Mxfp4 ? bytes({s.N, 16 * blocks(s.firstColumn + s.K, 32)}) : codes({s.N, s.K});
}
Argument scales(Form form, const Sizes& s) {
  if (form == Form::Tensor) return list(DType::F32, {0.0061});
  if (form == Form::Block)
    return uniform(DType::F32, {blocks(s.firstRow + s.N, 128), blocks(s.firstColumn + s.K, 128)}, 0.003, 0.009);
  Argument exponents = integers({s.N, blocks(s.firstColumn + s.K, 32)}, 122, 127);
  exponents.dtype = DType::U8;
  return exponents;
}

// Codes go to 448 and most are small: products walk at random at about the size of one of a dozen. Sums over K in two orders,
// each with the roundings of partial sums; tensor cores round less carefully.
double absolute(int64_t K, DType input) { return static_cast<double>(K + 1) * (input == DType::F32 ? 0x1p-20 : 0x1p-18); }
}  // namespace

CASES(quantised_matmul) {
  constexpr DType kPairs[][2] = {{DType::F32, DType::F32}, {DType::BF16, DType::BF16}, {DType::BF16, DType::F32}};
  for (Form form : {Form::Tensor, Form::Block, Form::Mxfp4})
    for (const auto& [input, result] : kPairs)
      for (bool transposed : {true, false}) {
        const std::string types =
            std::string(", ") + dtypeName(input) + " to " + dtypeName(result) + (transposed ? "" : ", back");
        const auto x = [&](const Sizes& s) { return normal(input, {s.M, transposed ? s.K : s.N}); };
        const auto y = [&](const Sizes& s) { return Shape{s.M, transposed ? s.N : s.K}; };
        std::vector<Sizes> sizes = {{1, 1, 1}, {0, 5, 3}, {3, 0, 5}, {5, 3, 0}, {3, 5, 7}, {17, 40, 33}, {130, 137, 200}};
        // Tiles of few tokens, and of many: more than one of 256 rows of W, or of 128 tokens.
        const bool nibbles = form == Form::Mxfp4;
        if (transposed && input == DType::BF16) {
          sizes.push_back({65, 136, 512});
          if (result == DType::BF16)
            sizes.insert(sizes.end(), {{1, 64, 256}, {nibbles ? 130 : 3, 272, nibbles ? 768 : 400}, {130, 70, 256}});
        }
        if (form == Form::Block) sizes.insert(sizes.end(), {{7, 140, 150, 100, 9}, {33, 64, 96, 64, 32}});
        if (form == Form::Mxfp4) sizes.insert(sizes.end(), {{7, 70, 61, 0, 13}, {33, 40, 64, 0, 16}});
        for (const Sizes& s : sizes)
          add(named(form, s) + types)
              .attributes({double(transposed), 0, double(s.firstRow), double(s.firstColumn)})
              .tensors({x(s), weight(form, s), scales(form, s), output(result, y(s))})
              .bound(1, absolute(transposed ? s.K : s.N, input));
        // Rows further apart, not aligned, the result added to.
        const Sizes s{19, 72, 96};
        add(named(form, s) + types + ", added to rows")
            .attributes({double(transposed), 1, 0, 0})
            .tensors({x(s).narrowed(101), weight(form, s).narrowed(133).shifted(3),
                      form == Form::Tensor ? scales(form, s) : scales(form, s).narrowed(5), normal(result, y(s)).narrowed(107)})
            .bound(1, absolute(transposed ? s.K : s.N, input));
      }
}

CASES(dequantise) {
  for (Form form : {Form::Tensor, Form::Block, Form::Mxfp4})
    for (DType result : {DType::F32, DType::BF16}) {
      std::vector<Sizes> sizes = {{0, 1, 1}, {0, 0, 5}, {0, 5, 0}, {0, 5, 7}, {0, 300, 257}};
      if (form == Form::Block) sizes.insert(sizes.end(), {{0, 140, 150, 100, 9}});
      if (form == Form::Mxfp4) sizes.insert(sizes.end(), {{0, 70, 61, 0, 13}});
      for (const Sizes& s : sizes)
        add(named(form, s) + " to " + dtypeName(result))
            .attributes({double(s.firstRow), double(s.firstColumn)})
            .tensors({weight(form, s), scales(form, s), output(result, {s.N, s.K})})
            .bound(0);
    }
  // Every code and every exponent, NaNs and subnormal results among them.
  std::vector<double> all(256);
  for (int i = 0; i < 256; ++i) all[static_cast<size_t>(i)] = i;
  Argument every = list(DType::FP8, all, {2, 128});
  add("every code").attributes({0, 0}).tensors({every, list(DType::F32, {1e-37}), output(DType::F32, {2, 128})}).bound(0);
  Argument exponents = list(DType::U8, all, {256, 1});
  add("every exponent").attributes({0, 0}).tensors({bytes({256, 16}), exponents, output(DType::F32, {256, 32})}).bound(0);
}

}  // namespace cd::check
