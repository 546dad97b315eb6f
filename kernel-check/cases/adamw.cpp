#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
const std::vector<double> kSettings = {1e-3, 0.9, 0.999, 1e-8, 0.1, 3, 1234567, 42};
}

// The same roundings in the same order: the bits are those of the CPU.
CASES(adamw) {
  for (DType dtype : {DType::F32, DType::BF16})
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7, 33}, Shape{5003}}) {
      const auto listed = [&](const std::string& name, Argument factor, Argument low) {
        add(text(dtype, shape) + name)
            .attributes(kSettings)
            .tensors({normal(dtype, shape), normal(DType::F32, shape), normal(DType::F32, shape, 0.1),
                      uniform(DType::F32, shape, 0, 0.01), factor, low})
            .bound(0);
      };
      listed("", absent(), absent());
      listed(" with a factor", constant(DType::F32, {1}, 0.37), dtype == DType::F32 ? output(DType::BF16, shape) : absent());
    }
  add("not aligned")
      .attributes(kSettings)
      .tensors({normal(DType::F32, {77}).shifted(1), normal(DType::F32, {77}).shifted(2), normal(DType::F32, {77}),
                constant(DType::F32, {77}, 0), absent(), output(DType::BF16, {77}).shifted(3)})
      .bound(0);
  add("infinite weight, bf16")
      .attributes(kSettings)
      .tensors({list(DType::BF16, {INFINITY, NAN, 3.3e38}), constant(DType::F32, {3}, -1), constant(DType::F32, {3}, 0),
                constant(DType::F32, {3}, 0), absent(), absent()})
      .bound(0);
}

CASES(adamw_8bit) {
  for (DType dtype : {DType::F32, DType::BF16})
    for (int64_t n : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, int64_t{5003}}) {
      const int64_t blocks = (n + 255) / 256;
      const auto listed = [&](const std::string& name, Argument g, double absmax, Argument factor, Argument low) {
        add(text(dtype, {n}) + name)
            .attributes(kSettings)
            .tensors({normal(dtype, {n}), g, bytes({n}), constant(DType::F32, {blocks}, absmax), bytes({n}),
                      constant(DType::F32, {blocks}, absmax * absmax), factor, low})
            .bound(0);
      };
      listed("", normal(DType::F32, {n}), 0.2, absent(), absent());
      listed(" fresh", normal(DType::F32, {n}, 1e-3), 0, constant(DType::F32, {1}, 0.37),
             dtype == DType::F32 ? output(DType::BF16, {n}) : absent());
    }
  add("gradients that are not finite")
      .attributes(kSettings)
      .tensors({normal(DType::F32, {5}), list(DType::F32, {1, NAN, INFINITY, -INFINITY, -2}), bytes({5}),
                constant(DType::F32, {1}, 1), bytes({5}), constant(DType::F32, {1}, 1), absent(), absent()})
      .bound(0);
}

}  // namespace cd::check
