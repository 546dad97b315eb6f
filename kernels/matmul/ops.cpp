#include "../../native/ops.h"
#include "../common/check.h"

namespace cd::ops {

const Op matmul{
    "matmul",
    {{"a", Access::In}, {"b", Access::In}, {"c", Access::InOut}},
    {"transposeA", "transposeB", "accumulate", "alpha"},
    [](const Call& call) {
      for (int index : {0, 1, 2}) {
        call.expectRank(index, 2);
        call.expectFloat(index);
      }
      call.expectSameDType(1, 0);
      for (int index : {0, 1, 2})
        if (!isWhole(call.attribute(index), 1)) failAttribute(call, index, "0 or 1");
      const Tensor &a = call[0], &b = call[1];
      const bool transposeA = call.attribute(0) != 0, transposeB = call.attribute(1) != 0;
      const int64_t M = a.shape[transposeA ? 1 : 0], K = a.shape[transposeA ? 0 : 1], N = b.shape[transposeB ? 0 : 1];
      if (transposeB) call.expectShape(1, {N, K});
      else call.expectShape(1, {K, N});
      call.expectShape(2, {M, N});
    },
};

}  // namespace cd::ops
