#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

namespace {
constexpr int64_t kBlock = 256;

void expectElements(const Call& call, int index, int64_t elements, std::initializer_list<DType> dtypes) {
  if (call[index].elements() != elements)
    call.fail(index, "have " + std::to_string(elements) + " elements", shapeText(call[index]));
  call.expectDType(index, dtypes);
  call.expectContiguous(index);
}

// Everything both optimizers share: p, g, then the state, then the two optional tensors from `optional` on.
void expectCommon(const Call& call, int optional) {
  const int64_t n = call[0].elements();
  expectElements(call, 0, n, {DType::F32, DType::BF16});
  expectElements(call, 1, n, {DType::F32});
  if (call[optional].present) expectElements(call, optional, 1, {DType::F32});
  if (call[optional + 1].present) expectElements(call, optional + 1, n, {DType::BF16});
  if (call[optional + 1].present && call[0].dtype == DType::BF16)
    call.fail(optional + 1, "be left out when 'p' is bf16", shapeText(call[optional + 1]));
  for (int index : {1, 2})
    if (!(call.attribute(index) >= 0 && call.attribute(index) < 1)) failAttribute(call, index, "in [0, 1)");
  if (!(call.attribute(5) >= 1 && isWhole(call.attribute(5), 0x1p53))) failAttribute(call, 5, "a whole number from 1 on");
  if (!isWhole(call.attribute(6), 0x1p53)) failAttribute(call, 6, "a whole number below 2^53");
  if (!isWhole(call.attribute(7), 4294967295.0)) failAttribute(call, 7, "a whole number below 2^32");
}
}  // namespace

const Op adamw{
    "adamw",
    {{"p", Access::InOut},
     {"g", Access::In},
     {"m", Access::InOut},
     {"v", Access::InOut},
     {"gradientFactor", Access::In, true},
     {"low", Access::Out, true}},
    {"learningRate", "beta1", "beta2", "eps", "weightDecay", "step", "seed", "purpose"},
    [](const Call& call) {
      expectCommon(call, 4);
      for (int index : {2, 3}) expectElements(call, index, call[0].elements(), {DType::F32});
    },
};

const Op adamw_8bit{
    "adamw_8bit",
    {{"p", Access::InOut},
     {"g", Access::In},
     {"mCodes", Access::InOut},
     {"mAbsmax", Access::InOut},
     {"vCodes", Access::InOut},
     {"vAbsmax", Access::InOut},
     {"gradientFactor", Access::In, true},
     {"low", Access::Out, true}},
    {"learningRate", "beta1", "beta2", "eps", "weightDecay", "step", "seed", "purpose"},
    [](const Call& call) {
      expectCommon(call, 6);
      const int64_t n = call[0].elements();
      for (int index : {2, 4}) expectElements(call, index, n, {DType::U8});
      for (int index : {3, 5}) expectElements(call, index, (n + kBlock - 1) / kBlock, {DType::F32});
    },
};

}  // namespace cd::ops
