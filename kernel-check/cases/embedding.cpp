#include "../case.h"

namespace cd::check {

namespace {
const DType kFloats[] = {DType::F32, DType::BF16};
}

CASES(embedding) {
  for (DType dtype : kFloats) {
    const auto listed = [dtype](int64_t V, int64_t N, int64_t E) {
      add(text(dtype, {V, E}) + ", " + std::to_string(N) + " ids")
          .tensors({normal(dtype, {V, E}), integers({N}, 0, V), output(dtype, {N, E})})
          .bound(0);
    };
    listed(1, 1, 1);
    listed(5, 0, 7);
    listed(11, 37, 33);
    listed(300, 9, 1030);
    add(text(dtype, {7, 20}) + " rows")
        .tensors({normal(dtype, {7, 20}).narrowed(24), integers({13}, -2, 7), output(dtype, {13, 20}).narrowed(27)})
        .bound(0);
  }
  add(text(DType::FP8, {7, 20}) + " rows")
      .tensors({codes({7, 20}).narrowed(21), integers({13}, 0, 7), output(DType::FP8, {13, 20})})
      .bound(0);
  for (double id : {-3.0, 7.0})
    add("id " + std::to_string(static_cast<int>(id)) + " of 7")
        .tensors({normal(DType::F32, {7, 20}), list(DType::I32, {1, 2, id, 3}), output(DType::F32, {4, 20})});
}

// The sums have one order: the bits are those of the CPU.
CASES(embedding_backward) {
  for (DType dtype : kFloats) {
    const auto listed = [dtype](int64_t V, int64_t N, int64_t E) {
      add(text(dtype, {V, E}) + ", " + std::to_string(N) + " ids")
          .tensors({integers({N}, 0, V), normal(dtype, {N, E}), normal(DType::F32, {V, E})})
          .bound(0);
    };
    listed(1, 1, 1);
    listed(5, 0, 7);
    listed(11, 137, 33);
    listed(2, 70, 300);
    listed(5000, 90, 9);
    add(text(dtype, {7, 20}) + " rows")
        .tensors({integers({40}, -2, 7), normal(dtype, {40, 20}).narrowed(24), normal(DType::F32, {7, 20}).narrowed(23)})
        .bound(0);
  }
  for (double id : {-3.0, 7.0})
    add("id " + std::to_string(static_cast<int>(id)) + " of 7")
        .tensors({list(DType::I32, {1, 2, id, 3}), normal(DType::F32, {4, 20}), normal(DType::F32, {7, 20})});
}

CASES(local_ids) {
  const auto listed = [](int64_t N, double first, double rows, double vocabulary) {
    add(std::to_string(N) + " ids, " + std::to_string(static_cast<int>(rows)) + " rows from " +
        std::to_string(static_cast<int>(first)))
        .attributes({first, rows, vocabulary})
        .tensors({integers({N}, -1, static_cast<int64_t>(vocabulary)), output(DType::I32, {N})})
        .bound(0);
  };
  listed(0, 0, 3, 7);
  listed(1, 0, 1, 1);
  listed(777, 3, 5, 11);
  listed(40, 0, 11, 11);
  listed(40, 11, 0, 11);
  for (double id : {-2.0, 7.0})
    add("id " + std::to_string(static_cast<int>(id)) + " of 7")
        .attributes({2, 4, 7})
        .tensors({list(DType::I32, {1, 2, id, 3}), output(DType::I32, {4})});
}

}  // namespace cd::check
