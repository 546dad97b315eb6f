#include "../../native/ops.h"

namespace cd::ops {

namespace {
void expectScalar(const Call& call, int index) {
  call.expectShape(index, {1});
  call.expectDType(index, {DType::F32});
}
}  // namespace

const Op sum{
    "sum",
    {{"x", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectFloat(0);
      expectScalar(call, 1);
    },
};

const Op sum_squares{
    "sum_squares",
    {{"acc", Access::InOut}, {"x", Access::In}},
    {},
    [](const Call& call) {
      expectScalar(call, 0);
      for (int group = 0; group < call.groups; ++group) {
        call.expectFloat(call.tensorOf(group, 1));
        call.expectSameDType(call.tensorOf(group, 1), 1);
      }
    },
    nullptr,
    false,
    1,
};

const Op clip_factor{
    "clip_factor",
    {{"sumSquares", Access::In}, {"norm", Access::Out}, {"factor", Access::Out}},
    {"maxNorm"},
    [](const Call& call) {
      for (int index : {0, 1, 2}) expectScalar(call, index);
    },
};

}  // namespace cd::ops
