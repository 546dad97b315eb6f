// The one list of operations, generated from kernels/ops.def. An operation's index in it is its number on the wire.
#pragma once

#include <vector>

#include "kernel.h"

namespace cd {

namespace ops {
#define X(name, folder) extern const Op name;
#include "../kernels/ops.def"
#undef X
}  // namespace ops

const std::vector<const Op*>& allOps();

}  // namespace cd
