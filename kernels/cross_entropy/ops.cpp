#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

namespace {
// hidden [T,E], weight [V,E], targets [T] at 0, 1, 2.
void checkInputs(const Call& call) {
  call.expectRank(0, 2);
  call.expectFloat(0);
  call.expectRank(1, 2);
  call.expectShape(1, {call[1].shape[0], call[0].shape[1]});
  call.expectSameDType(1, 0);
  call.expectShape(2, {call[0].shape[0]});
  call.expectDType(2, {DType::I32});
}
void checkPerToken(const Call& call, std::initializer_list<int> indices) {
  for (int index : indices) {
    call.expectShape(index, {call[0].shape[0]});
    call.expectDType(index, {DType::F32});
  }
}
// Two tensors of T at 3 and 4, dHidden and dWeight at 5 and 6.
void checkWithGradients(const Call& call) {
  checkInputs(call);
  checkPerToken(call, {3, 4});
  call.expectSameShape(5, 0);
  call.expectSameDType(5, 0);
  if (!call[6].present) return;
  call.expectSameShape(6, 1);
  call.expectDType(6, {DType::F32});
}
// values: the target, its token.
std::string explain(const Call& call, const Failure& failure) {
  return std::string(call.op->name) + ": Expected 'targets' to be -1 or below " + std::to_string(call[1].shape[0]) +
         " (the vocabulary) for token " + std::to_string(failure.values[1]) + " but received " +
         std::to_string(failure.values[0]);
}
std::string explainMerged(const Call& call, const Failure& failure) {
  return "merge_logprobs: Expected 'targets' to be -1 or below " + std::to_string(static_cast<int64_t>(call.attribute(0))) +
         " (the vocabulary) for token " + std::to_string(failure.values[1]) + " but received " +
         std::to_string(failure.values[0]);
}
}  // namespace

const Op token_logprobs{
    "token_logprobs",
    {{"hidden", Access::In}, {"weight", Access::In}, {"targets", Access::In}, {"logprobs", Access::Out}, {"lse", Access::Out}},
    {},
    [](const Call& call) {
      checkInputs(call);
      checkPerToken(call, {3, 4});
    },
    explain,
};

const Op token_logprobs_backward{
    "token_logprobs_backward",
    {{"hidden", Access::In},
     {"weight", Access::In},
     {"targets", Access::In},
     {"lse", Access::In},
     {"upstream", Access::In},
     {"dHidden", Access::Out},
     {"dWeight", Access::InOut, true}},
    {},
    checkWithGradients,
    explain,
};

const Op linear_cross_entropy{
    "linear_cross_entropy",
    {{"hidden", Access::In},
     {"weight", Access::In},
     {"targets", Access::In},
     {"tokenWeights", Access::In},
     {"loss", Access::Out},
     {"dHidden", Access::Out},
     {"dWeight", Access::InOut, true}},
    {},
    checkWithGradients,
    explain,
};

const Op merge_logprobs{
    "merge_logprobs",
    {{"targets", Access::In}, {"parts", Access::In}, {"logprobs", Access::Out}, {"lse", Access::Out}},
    {"vocabulary"},
    [](const Call& call) {
      call.expectRank(1, 3);
      call.expectShape(1, {call[1].shape[0], 2, call[1].shape[2]});
      call.expectContiguous(1);
      call.expectDType(0, {DType::I32});
      for (int index : {1, 2, 3}) call.expectDType(index, {DType::F32});
      for (int index : {0, 2, 3}) call.expectShape(index, {call[1].shape[2]});
      if (call[1].shape[0] < 1) call.fail(1, "have at least one part", shapeText(call[1]));
      if (!isWhole(call.attribute(0), 2147483647.0) || call.attribute(0) < static_cast<double>(call[1].shape[0]))
        failAttribute(call, 0, "a whole number from the number of parts to below 2^31");
    },
    explainMerged,
};

}  // namespace cd::ops
