// Runs one case on one back end.
#pragma once

#include <string>
#include <vector>

#include "case.h"
#include "memory.h"

namespace cd::check {

struct Images {
  std::vector<std::vector<uint8_t>> storages;  // of each parameter, gaps between rows included; empty when absent or shared
};

// The storages as a case starts: inputs drawn, the rest filled with `poison`.
Images initial(const Case& one, uint8_t poison);

struct Outcome {
  Images after;
  std::string failure;  // the operation's message about its data; empty when it ran
  bool guardsIntact = true;
};

// accelerator: null where kernels work in the host's memory. Throws Error when the kernel cannot be run.
Outcome run(const Op& op, Kernel kernel, Accelerator* accelerator, bool hostMemory, const Case& one, const Images& before);

}  // namespace cd::check
