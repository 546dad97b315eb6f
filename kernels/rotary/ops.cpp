#include "../../native/ops.h"
#include "check.h"

namespace cd::ops {

const Op rotary_table{
    "rotary_table",
    {{"positions", Access::In}, {"inverseFrequencies", Access::In}, {"cosSin", Access::Out}},
    {"attentionFactor"},
    [](const Call& call) {
      call.expectRank(0, 1);
      call.expectDType(0, {DType::I32});
      call.expectRank(1, 1);
      call.expectDType(1, {DType::F32});
      call.expectShape(2, {call[0].shape[0], 2 * call[1].shape[0]});
      call.expectDType(2, {DType::F32});
    },
};

const Op rotary{
    "rotary",
    {{"x", Access::In}, {"cosSin", Access::In}, {"y", Access::Out}},
    {"direction"},
    [](const Call& call) {
      call.expectRank(0, 3);
      call.expectFloat(0);
      checkCosSin(call, 1, 0);
      call.expectSameShape(2, 0);
      call.expectSameDType(2, 0);
      if (call.attribute(0) != 1 && call.attribute(0) != -1) failAttribute(call, 0, "1 or -1");
    },
};

}  // namespace cd::ops
