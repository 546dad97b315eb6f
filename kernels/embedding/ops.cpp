#include "../../native/ops.h"

namespace cd::ops {

const Op embedding{
    "embedding",
    {{"table", Access::In}, {"ids", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectRank(0, 2);
      call.expectFloat(0);
      call.expectRank(1, 1);
      call.expectDType(1, {DType::I32});
      call.expectShape(2, {call[1].shape[0], call[0].shape[1]});
      call.expectSameDType(2, 0);
    },
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
};

}  // namespace cd::ops
