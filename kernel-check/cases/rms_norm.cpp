#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
const Shape kShapes[] = {{0, 64}, {1, 1}, {3, 7}, {9, 33}, {2, 5, 128}, {70, 40}, {3, 1030}, {2, 4096}};

int64_t rows(const Shape& shape) {
  int64_t rows = 1;
  for (size_t axis = 0; axis + 1 < shape.size(); ++axis) rows *= shape[axis];
  return rows;
}
// Two roundings of bf16: the normalised row may tip, and then the product.
double ulps(DType dtype) { return dtype == DType::F32 ? 8 : 2; }
}  // namespace

CASES(rms_norm) {
  for (DType dtype : kFloats) {
    for (const Shape& shape : kShapes)
      add(text(dtype, shape))
          .attributes({1e-5})
          .tensors({normal(dtype, shape, 2), normal(dtype, {shape.back()}), output(dtype, shape),
                    output(DType::F32, {rows(shape)}).bounded(8)})
          .bound(ulps(dtype));
    add(text(dtype, {9, 40}) + " rows")
        .attributes({1e-6})
        .tensors({normal(dtype, {9, 40}).narrowed(48), normal(dtype, {40}), output(dtype, {9, 40}).narrowed(43),
                  output(DType::F32, {9}).bounded(8)})
        .bound(ulps(dtype));
    add(text(dtype, {2, 16}) + " zeros")
        .attributes({1e-6})
        .tensors({constant(dtype, {2, 16}, 0), normal(dtype, {16}), output(dtype, {2, 16}), output(DType::F32, {2}).bounded(8)})
        .bound(0);
  }
}

CASES(add_rms_norm) {
  for (DType dtype : kFloats) {
    const auto listed = [dtype](const std::string& name, const Shape& shape, int64_t stride, Argument sum) {
      add(text(dtype, shape) + name)
          .attributes({1e-5})
          .tensors({normal(dtype, shape, 2).narrowed(stride), normal(dtype, shape, 2), normal(dtype, {shape.back()}),
                    sum.bounded(0), output(dtype, shape), output(DType::F32, {rows(shape)}).bounded(8)})
          .bound(ulps(dtype));
    };
    for (const Shape& shape : kShapes) listed("", shape, 0, output(dtype, shape));
    listed(" rows", {9, 40}, 48, output(dtype, {9, 40}).narrowed(43));
  }
}

// What cancels in dx, and the sums of dWeight, are wrong by some roundings of f32 at the size of their terms.
CASES(rms_norm_backward) {
  for (DType dtype : kFloats) {
    const auto listed = [dtype](const std::string& name, const Shape& shape, bool withWeight, int64_t stride,
                                bool withSum = false) {
      const Argument x = normal(dtype, shape, 2).narrowed(stride), dy = normal(dtype, shape);
      const double count = static_cast<double>(rows(shape));
      add(text(dtype, shape) + name)
          .tensors({x, normal(dtype, {shape.back()}), uniform(DType::F32, {rows(shape)}, 0.2, 2), dy, output(dtype, shape),
                    withWeight ? normal(DType::F32, {shape.back()}).bounded(4, 0x1p-24 * 16 * (8 + count)) : absent(),
                    withSum ? normal(dtype, shape) : absent()})
          .bound(dtype == DType::F32 ? 8 : 1, 1e-5);
    };
    for (const Shape& shape : kShapes) listed("", shape, true, 0);
    listed(" without dWeight", {9, 33}, false, 0);
    listed(" rows", {9, 40}, true, 43);
    listed(" many rows", {200, 24}, true, 0);
    listed(" onto a gradient", {9, 33}, true, 0, true);
    listed(" onto a gradient, wide", {3, 1030}, false, 0, true);
  }
}

}  // namespace cd::check
