#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
const Shape kShapes[] = {{0, 8}, {1}, {7, 33}, {3, 4100}};
}  // namespace

// e^x may differ by 3 ulp, and a handful of roundings follow; the backward formula cancels where 1 + gate·(1 − σ) is near 0.
CASES(silu_mul) {
  for (DType dtype : kFloats) {
    const auto x = [dtype](const Shape& shape) { return normal(dtype, shape, 3); };
    const double ulps = dtype == DType::F32 ? 8 : 1;
    for (const Shape& shape : kShapes) add(text(dtype, shape)).tensors({x(shape), x(shape), output(dtype, shape)}).bound(ulps);
    add(text(dtype, {5, 24}) + " halves")
        .tensors({x({5, 24}).narrowed(48), x({5, 24}).narrowed(48).shifted(24), output(dtype, {5, 24})})
        .bound(ulps);
    add(text(dtype, {5, 21}) + " crooked halves")
        .tensors({x({5, 21}).narrowed(42), x({5, 21}).narrowed(42).shifted(21), output(dtype, {5, 21})})
        .bound(ulps);
    add(text(dtype, {4}) + " limits").tensors({list(dtype, {-200, 200, 0, -88}), x({4}), output(dtype, {4})}).bound(ulps, 1e-37);
  }
}

CASES(silu_mul_backward) {
  for (DType dtype : kFloats) {
    const auto x = [dtype](const Shape& shape) { return normal(dtype, shape, 3); };
    const double ulps = dtype == DType::F32 ? 8 : 1, absolute = dtype == DType::F32 ? 2e-5 : 1e-3;
    for (const Shape& shape : kShapes)
      add(text(dtype, shape))
          .tensors({x(shape), x(shape), x(shape), output(dtype, shape), output(dtype, shape)})
          .bound(ulps, absolute);
    add(text(dtype, {5, 24}) + " in place")
        .tensors({x({5, 24}).narrowed(48), x({5, 24}).narrowed(48).shifted(24), x({5, 24}), same(0), same(1)})
        .bound(ulps, absolute);
  }
}

}  // namespace cd::check
