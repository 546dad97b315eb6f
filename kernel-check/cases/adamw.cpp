#include <cmath>

#include "../case.h"

namespace cd::check {

namespace {
// β1, β2, eps, weight decay, seed; then purpose and first of each group.
const std::vector<double> kSettings = {0.9, 0.999, 1e-8, 0.1, 1234567, 42, 512};

// Learning rate, step and factor, then a group's or several groups' tensors.
std::vector<Argument> scheduled(std::vector<std::vector<Argument>> groups, Argument factor = absent(), double step = 3) {
  std::vector<Argument> all = {constant(DType::F32, {1}, 1e-3), list(DType::I32, {step}), factor};
  for (const std::vector<Argument>& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}
std::vector<double> settingsOf(int groups) {
  std::vector<double> all = kSettings;
  for (int group = 1; group < groups; ++group) all.insert(all.end(), {42.0 + group, 256.0 * group});
  return all;
}

std::vector<Argument> group32(DType dtype, const Shape& shape, Argument low) {
  return {normal(dtype, shape), normal(DType::F32, shape), normal(DType::F32, shape, 0.1), uniform(DType::F32, shape, 0, 0.01),
          low};
}
std::vector<Argument> group8(DType dtype, int64_t n, double absmax, Argument low) {
  const int64_t blocks = (n + 255) / 256;
  return {normal(dtype, {n}),
          normal(DType::F32, {n}),
          bytes({n}),
          constant(DType::F32, {blocks}, absmax),
          bytes({n}),
          constant(DType::F32, {blocks}, absmax * absmax),
          low};
}
const int64_t kSizes[] = {257, 0, 1, 2049, 256, 33};
}  // namespace

// The same roundings in the same order: the bits are those of the CPU.
CASES(adamw) {
  for (DType dtype : {DType::F32, DType::BF16}) {
    for (const Shape& shape : {Shape{0}, Shape{1}, Shape{7, 33}, Shape{5003}}) {
      const Argument low = dtype == DType::F32 ? output(DType::BF16, shape) : absent();
      add(text(dtype, shape)).attributes(kSettings).tensors(scheduled({group32(dtype, shape, absent())})).bound(0);
      add(text(dtype, shape) + " with a factor")
          .attributes(kSettings)
          .tensors(scheduled({group32(dtype, shape, low)}, constant(DType::F32, {1}, 0.37), 1000000))
          .bound(0);
    }
    std::vector<std::vector<Argument>> groups;
    for (int64_t n : kSizes)
      groups.push_back(group32(dtype, {n}, dtype == DType::F32 && n % 2 ? output(DType::BF16, {n}) : absent()));
    add(text(dtype, {6}) + " groups").attributes(settingsOf(6)).tensors(scheduled(groups)).bound(0);
    for (int group = 6; group < 300; ++group) groups.push_back(group32(dtype, {group % 5}, absent()));
    add(text(dtype, {300}) + " groups").attributes(settingsOf(300)).tensors(scheduled(groups)).bound(0);
  }
  add("not aligned")
      .attributes(kSettings)
      .tensors(scheduled({{normal(DType::F32, {77}).shifted(1), normal(DType::F32, {77}).shifted(2), normal(DType::F32, {77}),
                           constant(DType::F32, {77}, 0), output(DType::BF16, {77}).shifted(3)}}))
      .bound(0);
  add("infinite weight, bf16")
      .attributes(kSettings)
      .tensors(scheduled({{list(DType::BF16, {INFINITY, NAN, 3.3e38}), constant(DType::F32, {3}, -1),
                           constant(DType::F32, {3}, 0), constant(DType::F32, {3}, 0), absent()}}))
      .bound(0);
  add("step 0").attributes(kSettings).tensors(scheduled({group32(DType::F32, {5}, absent())}, absent(), 0));
}

CASES(adamw_8bit) {
  for (DType dtype : {DType::F32, DType::BF16}) {
    for (int64_t n : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{256}, int64_t{257}, int64_t{5003}}) {
      const Argument low = dtype == DType::F32 ? output(DType::BF16, {n}) : absent();
      add(text(dtype, {n})).attributes(kSettings).tensors(scheduled({group8(dtype, n, 0.2, absent())})).bound(0);
      add(text(dtype, {n}) + " fresh")
          .attributes(kSettings)
          .tensors(scheduled({group8(dtype, n, 0, low)}, constant(DType::F32, {1}, 0.37), 1))
          .bound(0);
    }
    std::vector<std::vector<Argument>> groups;
    for (int64_t n : kSizes)
      groups.push_back(group8(dtype, n, 0.2, dtype == DType::F32 && n % 2 ? output(DType::BF16, {n}) : absent()));
    add(text(dtype, {6}) + " groups").attributes(settingsOf(6)).tensors(scheduled(groups)).bound(0);
  }
  std::vector<Argument> bad = group8(DType::F32, 5, 1, absent());
  bad[1] = list(DType::F32, {1, NAN, INFINITY, -INFINITY, -2});
  add("gradients that are not finite").attributes(kSettings).tensors(scheduled({bad})).bound(0);
  add("step −3").attributes(kSettings).tensors(scheduled({group8(DType::F32, 5, 1, absent())}, absent(), -3));
}

}  // namespace cd::check
