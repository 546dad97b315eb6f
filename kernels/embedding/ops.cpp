#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

namespace {
// values: the id, its place.
template <int Table>
std::string explainId(const Call& call, const Failure& failure) {
  return std::string(call.op->name) + ": Expected 'ids' to be in [-2, " + std::to_string(call[Table].shape[0]) +
         ") but received " + std::to_string(failure.values[0]) + " at index " + std::to_string(failure.values[1]);
}
std::string explainGlobalId(const Call& call, const Failure& failure) {
  return "local_ids: Expected 'ids' to be in [-1, " + std::to_string(static_cast<int64_t>(call.attribute(2))) +
         ") but received " + std::to_string(failure.values[0]) + " at index " + std::to_string(failure.values[1]);
}
}  // namespace

const Op embedding{
    "embedding",
    {{"table", Access::In}, {"ids", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectRank(0, 2);
      call.expectDType(0, {DType::F32, DType::BF16, DType::FP8});
      call.expectRank(1, 1);
      call.expectDType(1, {DType::I32});
      call.expectShape(2, {call[1].shape[0], call[0].shape[1]});
      call.expectSameDType(2, 0);
    },
    explainId<0>,
};

const Op embedding_backward{
    "embedding_backward",
    {{"ids", Access::In}, {"dy", Access::In}, {"dTable", Access::InOut}},
    {},
    [](const Call& call) {
      call.expectRank(0, 1);
      call.expectDType(0, {DType::I32});
      call.expectRank(2, 2);
      call.expectDType(2, {DType::F32});
      call.expectShape(1, {call[0].shape[0], call[2].shape[1]});
      call.expectFloat(1);
    },
    explainId<2>,
};

const Op local_ids{
    "local_ids",
    {{"ids", Access::In}, {"y", Access::Out}},
    {"first", "rows", "vocabulary"},
    [](const Call& call) {
      call.expectRank(0, 1);
      call.expectSameShape(1, 0);
      for (int index : {0, 1}) call.expectDType(index, {DType::I32});
      for (int index : {0, 1, 2})
        if (!isWhole(call.attribute(index), 2147483647.0)) failAttribute(call, index, "a whole number below 2^31");
      if (call.attribute(0) + call.attribute(1) > call.attribute(2))
        failAttribute(call, 1, "at most what is left of 'vocabulary'");
    },
    explainGlobalId,
};

}  // namespace cd::ops
