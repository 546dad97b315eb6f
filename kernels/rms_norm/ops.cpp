#include "../../native/ops.h"

namespace cd::ops {

const Op rms_norm{
    "rms_norm",
    {{"x", Access::In}, {"weight", Access::In}, {"y", Access::Out}, {"invRms", Access::Out}},
    {"eps"},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectShape(1, {call[0].cols()});
      call.expectSameDType(1, 0);
      call.expectSameShape(2, 0);
      call.expectSameDType(2, 0);
      call.expectShape(3, {call[0].rows()});
      call.expectDType(3, {DType::F32});
    },
};

const Op add_rms_norm{
    "add_rms_norm",
    {{"a", Access::In},
     {"b", Access::In},
     {"weight", Access::In},
     {"sum", Access::Out},
     {"y", Access::Out},
     {"invRms", Access::Out}},
    {"eps"},
    [](const Call& call) {
      call.expectFloat(0);
      for (int index : {1, 3, 4}) {
        call.expectSameShape(index, 0);
        call.expectSameDType(index, 0);
      }
      call.expectShape(2, {call[0].cols()});
      call.expectSameDType(2, 0);
      call.expectShape(5, {call[0].rows()});
      call.expectDType(5, {DType::F32});
    },
};

const Op rms_norm_backward{
    "rms_norm_backward",
    {{"x", Access::In},
     {"weight", Access::In},
     {"invRms", Access::In},
     {"dy", Access::In},
     {"dx", Access::Out},
     {"dWeight", Access::InOut, true},
     {"dSum", Access::In, true}},
    {},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectShape(1, {call[0].cols()});
      call.expectSameDType(1, 0);
      call.expectShape(2, {call[0].rows()});
      call.expectDType(2, {DType::F32});
      for (int index : {3, 4}) {
        call.expectSameShape(index, 0);
        call.expectSameDType(index, 0);
      }
      if (call[5].present) {
        call.expectShape(5, {call[0].cols()});
        call.expectDType(5, {DType::F32});
      }
      if (call[6].present) {
        call.expectSameShape(6, 0);
        call.expectSameDType(6, 0);
      }
    },
};

}  // namespace cd::ops
