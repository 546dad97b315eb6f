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

const Op matmul_low_rank{
    "matmul_low_rank",
    {{"a", Access::In}, {"b", Access::In}, {"inner", Access::In}, {"outer", Access::In}, {"c", Access::InOut}},
    {"transposeB", "accumulate", "alpha", "packed"},
    [](const Call& call) {
      for (int index : {0, 1, 2, 3, 4}) {
        call.expectRank(index, 2);
        call.expectFloat(index);
      }
      for (int index : {1, 2, 3}) call.expectSameDType(index, 0);
      for (int index : {0, 1, 3})
        if (!isWhole(call.attribute(index), 1)) failAttribute(call, index, "0 or 1");
      const bool transposed = call.attribute(0) != 0;
      const int64_t M = call[0].shape[0], K = call[0].shape[1], R = call[2].shape[1], N = call[1].shape[transposed ? 0 : 1];
      call.expectShape(1, {transposed ? N : K, transposed ? K : N});
      call.expectShape(2, {M, R});
      call.expectShape(3, {transposed ? N : R, transposed ? R : N});
      call.expectShape(4, {M, N});
    },
};

}  // namespace cd::ops
