// What a kernel on an accelerator refuses in the integer tensors (Failure::code); the value is the one refused. sampling/ops.cpp
// puts it into the words that the CPU kernel throws.
#pragma once

namespace cd::sampling {

enum Refusal : int { kHistoryOffset, kHistoryToken, kBiasOffset, kBiasToken };

}  // namespace cd::sampling
