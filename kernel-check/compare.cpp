#include "compare.h"

#include <cmath>
#include <cstring>

namespace cd::check {

namespace {
constexpr size_t kProblems = 3;

double get(DType dtype, const uint8_t* source) {
  const auto load = [source](auto number) {
    std::memcpy(&number, source, sizeof(number));
    return number;
  };
  switch (dtype) {
    case DType::F32:
      return load(float{});
    case DType::BF16:
      return toFloat(BFloat16{load(uint16_t{})});
    case DType::I32:
      return load(int32_t{});
    case DType::FP8:  // its bits
    case DType::U8:
      return load(uint8_t{});
  }
  return 0;
}

bool isExact(DType dtype) { return dtype != DType::F32 && dtype != DType::BF16; }

// The distance between neighbours of the type around a value.
double ulp(DType dtype, double value) {
  if (isExact(dtype)) return 0;
  const int digits = dtype == DType::F32 ? 24 : 8;
  const int exponent = value == 0 ? -125 : std::max(std::ilogb(value), -126);
  return std::ldexp(1.0, exponent - digits + 1);
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

std::string place(const Argument& argument, int64_t index) {
  std::string result = "]";
  for (size_t axis = argument.shape.size(); axis-- > 0; index /= argument.shape[axis])
    result = (axis ? ", " : "[") + std::to_string(index % argument.shape[axis]) + result;
  return argument.shape.empty() ? "[]" : result;
}
}  // namespace

Comparison compare(const Op& op, const Case& one, const Outcome& expected, const Images& before, const Outcome& actual) {
  Comparison result;
  const auto report = [&](const std::string& problem) {
    if (result.problems.size() < kProblems) result.problems.push_back(problem);
  };
  if (!actual.guardsIntact) report("memory beside a tensor was written");
  if (expected.failure != actual.failure) {
    const auto words = [](const std::string& failure) { return failure.empty() ? std::string("success") : "'" + failure + "'"; };
    report("expected " + words(expected.failure) + " but received " + words(actual.failure));
  }
  if (!expected.failure.empty()) return result;  // what was written is not usable

  for (size_t index = 0; index < one.arguments.size(); ++index) {
    const Argument& argument = one.arguments[index];
    if (!argument.present || argument.sameAs >= 0) continue;
    bool written = op.parameter(static_cast<int>(index)).access != Access::In;
    Bound bound = argument.hasBound ? argument.bound : one.defaultBound;
    for (size_t other = 0; other < one.arguments.size(); ++other)
      if (one.arguments[other].sameAs == static_cast<int>(index))
        written |= op.parameter(static_cast<int>(other)).access != Access::In;

    const size_t size = static_cast<size_t>(dtypeSize(argument.dtype));
    const std::vector<uint8_t>&was = before.storages[index], &now = actual.after.storages[index],
          &right = expected.after.storages[index];
    const int64_t cols = argument.shape.empty() ? 1 : argument.shape.back();
    const int64_t stride = argument.rowStride > 0 ? argument.rowStride : cols;
    const int64_t elements = static_cast<int64_t>(now.size() / size);
    for (int64_t element = 0; element < elements; ++element) {
      const uint8_t* bytes = now.data() + element * size;
      const int64_t inside = element - argument.offset, row = cols > 0 ? inside / stride : 0, col = inside - row * stride;
      if (!written || inside < 0 || col >= cols) {
        if (std::memcmp(bytes, was.data() + element * size, size) != 0)
          report(std::string(op.parameter(static_cast<int>(index)).name) + ": " + (written ? "a gap between rows" : "an input") +
                 " was written");
        continue;
      }
      const double value = get(argument.dtype, bytes), wanted = get(argument.dtype, right.data() + element * size);
      if ((std::isnan(value) && std::isnan(wanted)) || value == wanted) continue;
      const double allowed = bound.ulps * ulp(argument.dtype, wanted) + (isExact(argument.dtype) ? 0 : bound.absolute);
      const double error = std::abs(value - wanted);
      if (error <= allowed) result.worst = std::max(result.worst, error / allowed);
      else
        report(std::string(op.parameter(static_cast<int>(index)).name) + place(argument, row * cols + col) + ": expected " +
               number(wanted) + " ± " + number(allowed) + " but received " + number(value));
    }
  }
  return result;
}

}  // namespace cd::check
