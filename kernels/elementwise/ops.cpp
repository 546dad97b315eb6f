#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

const Op fill{
    "fill",
    {{"y", Access::Out}},
    {"value"},
    [](const Call& call) {
      for (int group = 1; group < call.groups; ++group) call.expectSameDType(group, 0);
      const double value = call.attribute(0);
      if (call[0].dtype == DType::U8 && !isWhole(value, 255)) failAttribute(call, 0, "a whole number in [0, 255]");
      if (call[0].dtype == DType::I32 && !isWhole(value < 0 ? -value : value, 2147483647))
        failAttribute(call, 0, "a whole number within ±2147483647");
    },
    nullptr,
    false,
    1,
};

const Op copy{
    "copy",
    {{"x", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectSameShape(1, 0);
      if (call[0].dtype == DType::F32 || call[0].dtype == DType::BF16) call.expectFloat(1);
      else call.expectSameDType(1, 0);
    },
};

const Op add{
    "add",
    {{"a", Access::In}, {"b", Access::In}, {"y", Access::Out}},
    {"scale"},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectFloat(1);
      call.expectSameShape(1, 0);
      call.expectSameShape(2, 0);
      call.expectSameDType(2, 0);
    },
};

const Op scale{
    "scale",
    {{"x", Access::In}, {"y", Access::Out}},
    {"value"},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectSameShape(1, 0);
      call.expectSameDType(1, 0);
    },
};

const Op mul{
    "mul",
    {{"a", Access::In}, {"b", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectFloat(0);
      for (int index : {1, 2}) {
        call.expectSameShape(index, 0);
        call.expectSameDType(index, 0);
      }
    },
};

const Op exp{
    "exp",
    {{"x", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectSameShape(1, 0);
      call.expectSameDType(1, 0);
    },
};

}  // namespace cd::ops
