#include "../../native/ops.h"

namespace cd::ops {

namespace {
void expectAlike(const Call& call, int last) {
  call.expectFloat(0);
  for (int index = 1; index <= last; ++index) {
    call.expectSameShape(index, 0);
    call.expectSameDType(index, 0);
  }
}
}  // namespace

const Op silu_mul{
    "silu_mul",
    {{"gate", Access::In}, {"up", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) { expectAlike(call, 2); },
};

const Op silu_mul_backward{
    "silu_mul_backward",
    {{"gate", Access::In}, {"up", Access::In}, {"dy", Access::In}, {"dGate", Access::Out}, {"dUp", Access::Out}},
    {},
    [](const Call& call) { expectAlike(call, 4); },
};

}  // namespace cd::ops
