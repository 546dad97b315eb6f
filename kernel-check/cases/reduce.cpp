#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
const Shape kShapes[] = {{0}, {1}, {3}, {7, 33}, {40, 130}, {16384}, {100003}};

double elements(const Shape& shape) {
  double count = 1;
  for (int64_t size : shape) count *= static_cast<double>(size);
  return count;
}
// At most 256 elements of a run are summed one after another in f32, each about 1 in size: half an ulp of the sum so far for
// each.
double absolute(const Shape& shape) { return 0x1p-24 * 16 * elements(shape); }
}  // namespace

CASES(sum) {
  for (DType dtype : kFloats) {
    for (const Shape& shape : kShapes)
      add(text(dtype, shape)).tensors({normal(dtype, shape), output(DType::F32, {1})}).bound(1, absolute(shape));
    add(text(dtype, {9, 40}) + " rows")
        .tensors({normal(dtype, {9, 40}).narrowed(43).shifted(1), output(DType::F32, {1})})
        .bound(1, absolute({360}));
    add(text(dtype, {70, 300}) + " rows")
        .tensors({normal(dtype, {70, 300}).narrowed(320), output(DType::F32, {1})})
        .bound(1, absolute({21000}));
  }
  add("infinite").tensors({list(DType::F32, {1, INFINITY, 2}), output(DType::F32, {1})});
  add("not a number").tensors({list(DType::F32, {1, NAN, 2}), output(DType::F32, {1})});
}

CASES(sum_squares) {
  for (DType dtype : kFloats) {
    for (const Shape& shape : kShapes)
      add(text(dtype, shape)).tensors({constant(DType::F32, {1}, 2.5), normal(dtype, shape)}).bound(1, absolute(shape));
    add(text(dtype, {9, 40}) + " rows")
        .tensors({constant(DType::F32, {1}, 0), normal(dtype, {9, 40}).narrowed(64)})
        .bound(1, absolute({360}));
    std::vector<Argument> many = {constant(DType::F32, {1}, 2.5)};
    double count = 0;
    for (const Shape& shape : kShapes) {
      many.push_back(normal(dtype, shape));
      count += elements(shape);
    }
    many.push_back(normal(dtype, {9, 40}).narrowed(64).shifted(1));
    for (int more = 0; more < 300; ++more) many.push_back(normal(dtype, {more % 4}));
    add(text(dtype, {308}) + " tensors").tensors(many).bound(1, absolute({static_cast<int64_t>(count) + 1000}));
  }
}

CASES(clip_factor) {
  for (double norm : {0.0, 0.5, 4.0, 1e30})
    for (double maximum : {-1.0, 0.0, 1.0})
      add("norm² " + std::to_string(norm) + ", at most " + std::to_string(maximum))
          .attributes({maximum})
          .tensors({constant(DType::F32, {1}, norm), output(DType::F32, {1}), output(DType::F32, {1})});
  add("not a number").attributes({1}).tensors({constant(DType::F32, {1}, NAN), output(DType::F32, {1}), output(DType::F32, {1})});
}

}  // namespace cd::check
