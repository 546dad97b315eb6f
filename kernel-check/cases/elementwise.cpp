#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
// Nothing, one element, less and more than a span, more than a block of threads takes at once.
const Shape kShapes[] = {{0}, {1}, {5}, {7, 33}, {3, 5, 67}, {2, 4100}};
// Rows that do not touch: aligned to 16 bytes, and not.
const Shape kView = {9, 40};
const int64_t kAligned = 64, kCrooked = 43;
}  // namespace

CASES(fill) {
  for (DType dtype : {DType::F32, DType::BF16, DType::I32, DType::U8, DType::FP8}) {
    for (const Shape& shape : kShapes) add(text(dtype, shape)).attributes({3}).tensors({output(dtype, shape)}).bound(0);
    add(text(dtype, kView) + " aligned rows").attributes({200}).tensors({output(dtype, kView).narrowed(kAligned)}).bound(0);
    add(text(dtype, kView) + " crooked rows")
        .attributes({200})
        .tensors({output(dtype, kView).narrowed(kCrooked).shifted(1)})
        .bound(0);
    std::vector<Argument> many;
    for (const Shape& shape : kShapes) many.push_back(output(dtype, shape));
    many.push_back(output(dtype, kView).narrowed(kCrooked).shifted(1));
    for (int more = 0; more < 300; ++more) many.push_back(output(dtype, {more % 4}));
    add(text(dtype, {307}) + " tensors").attributes({3}).tensors(many).bound(0);
  }
  add("f32 negative infinity").attributes({-INFINITY}).tensors({output(DType::F32, {3, 11})}).bound(0);
  add("i32 negative").attributes({-2147483647}).tensors({output(DType::I32, {3, 11})}).bound(0);
}

CASES(copy) {
  for (DType x : kFloats)
    for (DType y : kFloats) {
      const std::string types = std::string(dtypeName(x)) + " to " + text(y, {});
      for (const Shape& shape : kShapes) add(types + text(shape)).tensors({normal(x, shape), output(y, shape)}).bound(0);
      add(types + " into crooked rows")
          .tensors({normal(x, kView).narrowed(kAligned), output(y, kView).narrowed(kCrooked)})
          .bound(0);
      add(types + " from crooked rows").tensors({normal(x, kView).narrowed(kCrooked).shifted(3), output(y, kView)}).bound(0);
    }
  for (const Shape& shape : kShapes) {
    add(text(DType::I32, shape)).tensors({integers(shape, -9, 9), output(DType::I32, shape)});
    add(text(DType::U8, shape)).tensors({bytes(shape), output(DType::U8, shape)});
  }
  add("u8 rows").tensors({bytes(kView).narrowed(kCrooked), output(DType::U8, kView).narrowed(kAligned)});
  add("specials")
      .tensors({list(DType::F32, {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-40, 3.4e38, 1.00390625, 1.01171875}),
                output(DType::BF16, {9})})
      .bound(0);
}

CASES(add) {
  for (DType a : kFloats)
    for (DType b : kFloats) {
      const std::string types = std::string(dtypeName(a)) + " + " + text(b, {});
      for (const Shape& shape : kShapes)
        add(types + text(shape)).attributes({0.3}).tensors({normal(a, shape), normal(b, shape), output(a, shape)}).bound(0);
      add(types + " rows")
          .attributes({-1})
          .tensors({normal(a, kView).narrowed(kCrooked), normal(b, kView).narrowed(kAligned), output(a, kView)})
          .bound(0);
      add(types + " in place").attributes({2}).tensors({normal(a, kView).narrowed(kAligned), normal(b, kView), same(0)}).bound(0);
    }
}

CASES(scale) {
  for (DType dtype : kFloats) {
    for (const Shape& shape : kShapes)
      add(text(dtype, shape)).attributes({0.3}).tensors({normal(dtype, shape), output(dtype, shape)}).bound(0);
    add(text(dtype, kView) + " rows")
        .attributes({-7})
        .tensors({normal(dtype, kView).narrowed(kCrooked), output(dtype, kView).narrowed(kAligned)})
        .bound(0);
    add(text(dtype, kView) + " in place").attributes({3}).tensors({normal(dtype, kView).shifted(1), same(0)}).bound(0);
  }
  add("large").attributes({1.5}).tensors({normal(DType::BF16, {300001}), output(DType::BF16, {300001})}).bound(0);
}

CASES(mul) {
  for (DType dtype : kFloats) {
    for (const Shape& shape : kShapes)
      add(text(dtype, shape)).tensors({normal(dtype, shape), normal(dtype, shape), output(dtype, shape)}).bound(0);
    add(text(dtype, kView) + " rows")
        .tensors({normal(dtype, kView).narrowed(kAligned), normal(dtype, kView).narrowed(kCrooked), output(dtype, kView)})
        .bound(0);
    add(text(dtype, kView) + " in place").tensors({normal(dtype, kView), normal(dtype, kView), same(1)}).bound(0);
  }
}

CASES(exp) {
  for (DType dtype : kFloats) {
    // Both are right to 2 ulp of f32; in bf16 that can tip the rounding.
    for (const Shape& shape : kShapes)
      add(text(dtype, shape)).tensors({normal(dtype, shape, 10), output(dtype, shape)}).bound(dtype == DType::F32 ? 4 : 1);
    add(text(dtype, kView) + " rows")
        .tensors({normal(dtype, kView).narrowed(kCrooked), output(dtype, kView).narrowed(kAligned)})
        .bound(dtype == DType::F32 ? 4 : 1);
    add(text(dtype, {6}) + " limits")
        .tensors({list(dtype, {0, -INFINITY, INFINITY, NAN, -120, 100}), output(dtype, {6})})
        .bound(1);
  }
}

}  // namespace cd::check
