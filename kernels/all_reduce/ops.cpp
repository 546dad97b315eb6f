#include "../../native/ops.h"

namespace cd::ops {

const Op all_reduce{
    "all_reduce",
    {{"x", Access::InOut}},
    {"communicator"},
    [](const Call& call) {
      call.expectDType(0, {DType::F32});
      call.expectContiguous(0);
    },
};

}  // namespace cd::ops
