#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
}

// Both compute cosine and sine in f64: right to half an ulp, so they differ by one where a value lies between two floats.
CASES(rotary_table) {
  const auto listed = [](int64_t T, int64_t half) {
    add(std::to_string(T) + " positions, " + std::to_string(half) + " frequencies")
        .attributes({1.25})
        .tensors({integers({T}, 0, 131072), uniform(DType::F32, {half}, 1e-6, 1), output(DType::F32, {T, 2 * half})})
        .bound(2);
  };
  listed(0, 8);
  listed(1, 1);
  listed(5, 0);
  listed(37, 17);
  listed(9, 64);
  add("rows")
      .attributes({1})
      .tensors({integers({7}, 0, 100), uniform(DType::F32, {5}, 0.01, 1), output(DType::F32, {7, 10}).narrowed(13)})
      .bound(2);
}

CASES(rotary) {
  for (DType dtype : kFloats)
    for (double direction : {1.0, -1.0}) {
      const auto listed = [=](const Shape& shape, int64_t turned) {
        add(text(dtype, shape) + ", " + std::to_string(turned) + " turn by " + (direction > 0 ? "+1" : "-1"))
            .attributes({direction})
            .tensors({normal(dtype, shape), uniform(DType::F32, {shape[0], turned}, -1, 1), output(dtype, shape)})
            .bound(0);
      };
      listed({0, 2, 8}, 8);
      listed({1, 1, 2}, 2);
      listed({5, 3, 14}, 14);
      listed({5, 3, 64}, 64);
      listed({3, 2, 37}, 10);
      listed({3, 2, 80}, 32);
      listed({4, 2, 20}, 0);
      listed({2, 4, 256}, 64);
      const std::string way = direction > 0 ? " +1" : " -1";
      add(text(dtype, {5, 3, 16}) + " in place" + way)
          .attributes({direction})
          .tensors({normal(dtype, {5, 3, 16}), uniform(DType::F32, {5, 12}, -1, 1), same(0)})
          .bound(0);
      add(text(dtype, {5, 3, 16}) + " rows" + way)
          .attributes({direction})
          .tensors({normal(dtype, {5, 3, 16}).narrowed(24), uniform(DType::F32, {5, 16}, -1, 1).narrowed(19),
                    output(dtype, {5, 3, 16}).narrowed(17)})
          .bound(0);
    }
}

}  // namespace cd::check
