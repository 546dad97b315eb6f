#include "../../native/ops.h"
#include "../common/check.h"
#include "rates.h"

namespace cd::ops {

namespace {
constexpr int64_t kBlock = 256;

void expectElements(const Call& call, int index, int64_t elements, std::initializer_list<DType> dtypes) {
  if (call[index].elements() != elements)
    call.fail(index, "have " + std::to_string(elements) + " elements", shapeText(call[index]));
  call.expectDType(index, dtypes);
  call.expectContiguous(index);
}

// Everything both optimizers share. `state` tensors lie between g and low of a group.
void expectCommon(const Call& call, int state) {
  expectElements(call, 0, 1, {DType::F32});
  expectElements(call, 1, 1, {DType::I32});
  if (call[2].present) expectElements(call, 2, 1, {DType::F32});
  for (int index : {0, 1})
    if (!(call.attribute(index) >= 0 && call.attribute(index) < 1)) failAttribute(call, index, "in [0, 1)");
  if (!isWhole(call.attribute(4), 0x1p53)) failAttribute(call, 4, "a whole number below 2^53");
  for (int group = 0; group < call.groups; ++group) {
    const int p = call.tensorOf(group, 3), g = p + 1, low = g + state + 1;
    const int64_t n = call[p].elements();
    expectElements(call, p, n, {DType::F32, DType::BF16});
    call.expectSameDType(p, 3);
    expectElements(call, g, n, {DType::F32});
    if (call[low].present) expectElements(call, low, n, {DType::BF16});
    if (call[low].present && call[p].dtype == DType::BF16) call.fail(low, "be left out when 'p' is bf16", shapeText(call[low]));
    const int purpose = call.attributeOf(group, 5), first = purpose + 1;
    if (!isWhole(call.attribute(purpose), 4294967295.0)) failAttribute(call, purpose, "a whole number below 2^32");
    if (!(isWhole(call.attribute(first), 0x1p53) && isWhole(call.attribute(first) / kBlock, 0x1p53)))
      failAttribute(call, first, "a multiple of 256");
  }
}

std::string explainStep(const Call& call, const Failure& failure) { return refusedStep(call, failure.values[0]); }
}  // namespace

const Op adamw{
    "adamw",
    {{"learningRate", Access::In},
     {"step", Access::In},
     {"gradientFactor", Access::In, true},
     {"p", Access::InOut},
     {"g", Access::In},
     {"m", Access::InOut},
     {"v", Access::InOut},
     {"low", Access::Out, true}},
    {"beta1", "beta2", "eps", "weightDecay", "seed", "purpose", "first"},
    [](const Call& call) {
      expectCommon(call, 2);
      for (int group = 0; group < call.groups; ++group)
        for (int index : {5, 6})
          expectElements(call, call.tensorOf(group, index), call[call.tensorOf(group, 3)].elements(), {DType::F32});
    },
    explainStep,
    false,
    5,
    2,
};

const Op adamw_8bit{
    "adamw_8bit",
    {{"learningRate", Access::In},
     {"step", Access::In},
     {"gradientFactor", Access::In, true},
     {"p", Access::InOut},
     {"g", Access::In},
     {"mCodes", Access::InOut},
     {"mAbsmax", Access::InOut},
     {"vCodes", Access::InOut},
     {"vAbsmax", Access::InOut},
     {"low", Access::Out, true}},
    {"beta1", "beta2", "eps", "weightDecay", "seed", "purpose", "first"},
    [](const Call& call) {
      expectCommon(call, 4);
      for (int group = 0; group < call.groups; ++group) {
        const int64_t n = call[call.tensorOf(group, 3)].elements();
        for (int index : {5, 7}) expectElements(call, call.tensorOf(group, index), n, {DType::U8});
        for (int index : {6, 8}) expectElements(call, call.tensorOf(group, index), (n + kBlock - 1) / kBlock, {DType::F32});
      }
    },
    explainStep,
    false,
    7,
    2,
};

}  // namespace cd::ops
