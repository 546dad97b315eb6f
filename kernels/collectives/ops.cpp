#include "../../native/ops.h"
#include "../../native/collective.h"
#include "../common/check.h"

namespace cd::ops {

namespace {
void expectSummable(const Call& call) {
  call.expectDType(0, {DType::F32, DType::BF16, DType::I32});
  call.expectContiguous(0);
}

// `whole` is the group's size times `part` along the first dimension.
void expectParts(const Call& call, int whole, int part) {
  call.expectSameDType(1, 0);
  call.expectContiguous(0);
  call.expectContiguous(1);
  const Tensor &large = call[whole], &small = call[part];
  if (small.rank == 0) call.fail(part, "have at least one dimension", shapeText(small));
  Tensor expected = small;
  expected.shape[0] *= call.collective(static_cast<int>(call.attribute(0))).size();
  bool equal = large.rank == expected.rank;
  for (int axis = 0; equal && axis < large.rank; ++axis) equal = large.shape[axis] == expected.shape[axis];
  if (!equal)
    call.fail(whole, std::string("have the shape of '") + call.name(part) + "' times the number of ranks, " + shapeText(expected),
              shapeText(large));
}
}  // namespace

const Op all_reduce{"all_reduce", {{"x", Access::InOut}}, {"communicator"}, expectSummable, nullptr, true};

const Op all_gather{
    "all_gather",     {{"x", Access::In}, {"out", Access::Out}},
    {"communicator"}, [](const Call& call) { expectParts(call, 1, 0); },
    nullptr,          true,
};

const Op reduce_scatter{
    "reduce_scatter",
    {{"x", Access::In}, {"out", Access::Out}},
    {"communicator"},
    [](const Call& call) {
      expectSummable(call);
      expectParts(call, 0, 1);
    },
    nullptr,
    true,
};

const Op broadcast{
    "broadcast",
    {{"x", Access::InOut}},
    {"communicator", "root"},
    [](const Call& call) {
      call.expectContiguous(0);
      const int ranks = call.collective(static_cast<int>(call.attribute(0))).size();
      if (!isWhole(call.attribute(1), ranks - 1))
        failAttribute(call, 1, ("a rank from 0 to " + std::to_string(ranks - 1)).c_str());
    },
    nullptr,
    true,
};

}  // namespace cd::ops
