#include "../case.h"

namespace cd::check {

namespace {
// With the columns of the shape, as of a tensor that is no part of another.
std::vector<double> whole(std::vector<double> attributes, const Shape& shape) {
  attributes.push_back(static_cast<double>(shape.back()));
  return attributes;
}
}  // namespace

CASES(dropout) {
  for (DType dtype : {DType::F32, DType::BF16}) {
    const auto listed = [dtype](const std::string& name, const Shape& shape, std::vector<double> attributes) {
      add(text(dtype, shape) + name)
          .attributes(whole(std::move(attributes), shape))
          .tensors({normal(dtype, shape), output(dtype, shape)})
          .bound(0);
    };
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{5}, Shape{7, 33}, Shape{2, 4100}}) listed("", shape, {0.3, 7, 1, 2, 0});
    for (double offset : {1.0, 2.0, 3.0, 4294967295.0, 9007199254740000.0})
      listed(" from " + std::to_string(static_cast<int64_t>(offset)), {3, 19}, {0.5, 0x1p52, 4294967295, 3, offset});
    listed(" p 0", {33}, {0, 7, 1, 2, 0});
    add(text(dtype, {6, 20}) + " rows")
        .attributes({0.4, 11, 5, 6, 9, 20})
        .tensors({normal(dtype, {6, 20}).narrowed(23), output(dtype, {6, 20}).narrowed(24)})
        .bound(0);
    add(text(dtype, {6, 20}) + " of 57 columns")
        .attributes({0.4, 11, 5, 6, 18, 57})
        .tensors({normal(dtype, {6, 20}), output(dtype, {6, 20})})
        .bound(0);
    add(text(dtype, {6, 20}) + " in place")
        .attributes({0.4, 11, 5, 6, 9, 20})
        .tensors({normal(dtype, {6, 20}).narrowed(24), same(0)})
        .bound(0);
  }
}

}  // namespace cd::check
