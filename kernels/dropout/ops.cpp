#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

const Op dropout{
    "dropout",
    {{"x", Access::In}, {"y", Access::Out}},
    {"p", "seed", "purpose", "step", "offset", "columns"},
    [](const Call& call) {
      call.expectFloat(0);
      call.expectSameShape(1, 0);
      call.expectSameDType(1, 0);
      if (!(call.attribute(0) >= 0 && call.attribute(0) < 1)) failAttribute(call, 0, "in [0, 1)");
      for (int index : {1, 4, 5})
        if (!isWhole(call.attribute(index), 0x1p53)) failAttribute(call, index, "a whole number below 2^53");
      for (int index : {2, 3})
        if (!isWhole(call.attribute(index), 4294967295.0)) failAttribute(call, index, "a whole number below 2^32");
      if (call.attribute(5) < static_cast<double>(call[0].cols())) failAttribute(call, 5, "at least the columns of 'x'");
    },
};

}  // namespace cd::ops
