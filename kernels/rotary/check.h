// What the operations that turn heads expect of their angles.
#pragma once

#include "../common/check.h"

namespace cd::ops {

// Tensor `index`, cosSin [T, R] f32 for the heads x [T, H, D] of tensor `x`, with R even and at most D.
inline void checkCosSin(const Call& call, int index, int x) {
  call.expectRank(index, 2);
  call.expectDType(index, {DType::F32});
  if (call[index].shape[0] != call[x].shape[0] || call[index].shape[1] > call[x].shape[2] || call[index].shape[1] % 2 != 0)
    call.fail(index,
              "have shape [" + std::to_string(call[x].shape[0]) + ", R], R even and at most " + std::to_string(call[x].shape[2]),
              shapeText(call[index]));
}

}  // namespace cd::ops
