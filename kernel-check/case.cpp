#include "case.h"

#include <cmath>

namespace cd::check {

Random::Random(const std::string& seed) : state_(0xcbf29ce484222325u) {
  for (char letter : seed) state_ = (state_ ^ static_cast<unsigned char>(letter)) * 0x100000001b3u;
}

uint64_t Random::bits() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

double Random::normal() {
  const double radius = std::sqrt(-2 * std::log(1 - uniform()));
  return radius * std::cos(6.283185307179586 * uniform());
}

Argument Argument::narrowed(int64_t stride) const {
  Argument result = *this;
  result.rowStride = stride;
  return result;
}
Argument Argument::shifted(int64_t elements) const {
  Argument result = *this;
  result.offset = elements;
  return result;
}
Argument Argument::bounded(double ulps, double absolute) const {
  Argument result = *this;
  result.hasBound = true;
  result.bound = {ulps, absolute};
  return result;
}

namespace {
Argument drawn(DType dtype, Shape shape, std::function<double(Random&, int64_t)> value) {
  Argument argument;
  argument.dtype = dtype;
  argument.shape = std::move(shape);
  argument.value = std::move(value);
  return argument;
}

std::string& currentOp() {
  static std::string name;
  return name;
}
}  // namespace

Argument normal(DType dtype, Shape shape, double deviation) {
  return drawn(dtype, std::move(shape), [=](Random& random, int64_t) { return deviation * random.normal(); });
}
Argument uniform(DType dtype, Shape shape, double from, double to) {
  return drawn(dtype, std::move(shape), [=](Random& random, int64_t) { return from + (to - from) * random.uniform(); });
}
Argument integers(Shape shape, int64_t from, int64_t to) {
  return drawn(DType::I32, std::move(shape), [=](Random& random, int64_t) {
    return static_cast<double>(from + static_cast<int64_t>(random.bits() % static_cast<uint64_t>(to - from)));
  });
}
Argument bytes(Shape shape) {
  return drawn(DType::U8, std::move(shape), [](Random& random, int64_t) { return static_cast<double>(random.bits() % 256); });
}
Argument codes(Shape shape) {
  // All but the two NaNs, which would hide everything that they meet.
  return drawn(DType::FP8, std::move(shape),
               [](Random& random, int64_t) { return static_cast<double>(random.bits() % 2 * 128 + random.bits() % 127); });
}
Argument constant(DType dtype, Shape shape, double value) {
  return drawn(dtype, std::move(shape), [=](Random&, int64_t) { return value; });
}
Argument list(DType dtype, std::vector<double> values, Shape shape) {
  if (shape.empty()) shape = {static_cast<int64_t>(values.size())};
  return drawn(dtype, std::move(shape), [values](Random&, int64_t index) { return values.at(static_cast<size_t>(index)); });
}
Argument output(DType dtype, Shape shape) { return drawn(dtype, std::move(shape), nullptr); }
Argument same(int parameter) {
  Argument argument;
  argument.sameAs = parameter;
  return argument;
}
Argument absent() {
  Argument argument;
  argument.present = false;
  return argument;
}

Case& Case::tensors(std::vector<Argument> list) {
  arguments = std::move(list);
  for (Argument& argument : arguments) {
    if (argument.sameAs < 0) continue;
    const int other = argument.sameAs;
    argument = arguments.at(static_cast<size_t>(other));
    argument.sameAs = other;
  }
  return *this;
}
Case& Case::attributes(std::vector<double> values) {
  attributeValues = std::move(values);
  return *this;
}
Case& Case::bound(double ulps, double absolute) {
  defaultBound = {ulps, absolute};
  return *this;
}

std::map<std::string, std::deque<Case>>& allCases() {
  static std::map<std::string, std::deque<Case>> cases;
  return cases;
}

Case& add(const std::string& name) {
  std::deque<Case>& cases = allCases()[currentOp()];
  for (const Case& other : cases)
    if (other.name == name) throw Error(currentOp() + ": two cases are called '" + name + "'");
  cases.push_back({currentOp(), name, {}, {}, {1, 0}});
  return cases.back();
}

CaseList::CaseList(const char* op, void (*list)()) {
  currentOp() = op;
  list();
}

std::string text(const Shape& shape) {
  std::string result = "[";
  for (size_t axis = 0; axis < shape.size(); ++axis) result += (axis ? ", " : "") + std::to_string(shape[axis]);
  return result + "]";
}
std::string text(DType dtype, const Shape& shape) { return std::string(dtypeName(dtype)) + " " + text(shape); }

}  // namespace cd::check
