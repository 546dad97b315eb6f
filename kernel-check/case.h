// A case of kernel-check: an operation with its tensors, attributes and the error allowed between two back ends' results.
//
//   CASES(scale) {
//     add("odd").attributes({0.5}).tensors({normal(DType::F32, {7, 33}), output(DType::F32, {7, 33})}).bound(1);
//   }
//
// Tensors stand in the order of the operation's parameters.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

#include "../native/kernel.h"

namespace cd::check {

using Shape = std::vector<int64_t>;

// splitmix64 (Steele, Lea and Flood 2014), seeded by the name of the case: the same numbers everywhere.
class Random {
 public:
  explicit Random(const std::string& seed);
  uint64_t bits();
  double uniform();  // in [0, 1)
  double normal();

 private:
  uint64_t state_;
};

// |actual − expected| ≤ ulps · (distance of neighbours at expected) + absolute. Integers and the bits of fp8 are always exact.
struct Bound {
  double ulps = 0, absolute = 0;
};

struct Argument {
  DType dtype = DType::F32;
  Shape shape;
  bool present = true;
  std::function<double(Random&, int64_t index)> value;  // null: undefined at first, an output
  int64_t rowStride = 0;                                // 0: contiguous
  int64_t offset = 0;                                   // elements before the first one, so that it is not aligned
  int sameAs = -1;                                      // the very tensor of an earlier parameter
  bool hasBound = false;
  Bound bound;

  Argument narrowed(int64_t stride) const;
  Argument shifted(int64_t elements) const;
  Argument bounded(double ulps, double absolute = 0) const;  // instead of the case's
};

Argument normal(DType dtype, Shape shape, double deviation = 1);
Argument uniform(DType dtype, Shape shape, double from, double to);
Argument integers(Shape shape, int64_t from, int64_t to);  // i32 in [from, to)
Argument bytes(Shape shape);                               // u8
Argument codes(Shape shape);                               // fp8, any number
Argument constant(DType dtype, Shape shape, double value);
Argument list(DType dtype, std::vector<double> values, Shape shape = {});  // default: one dimension
Argument output(DType dtype, Shape shape);
Argument same(int parameter);  // the tensor of an earlier parameter itself
Argument absent();

struct Case {
  std::string op, name;
  std::vector<Argument> arguments;
  std::vector<double> attributeValues;
  Bound defaultBound{1, 0};

  Case& tensors(std::vector<Argument> list);
  Case& attributes(std::vector<double> values);
  Case& bound(double ulps, double absolute = 0);
};

// Adds a case to the operation whose CASES are being listed. Its name must be new.
Case& add(const std::string& name);

// All cases by operation, in the order in which they were added.
std::map<std::string, std::deque<Case>>& allCases();

struct CaseList {
  CaseList(const char* op, void (*list)());
};
#define CASES(op)                                                \
  static void list_##op();                                       \
  static const ::cd::check::CaseList cases_##op(#op, list_##op); \
  static void list_##op()

std::string text(const Shape& shape);
std::string text(DType dtype, const Shape& shape);  // "bf16 [7, 33]"

}  // namespace cd::check
