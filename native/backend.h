// Finds and loads the back-end plug-in that fits this machine's CPU.
#pragma once

#include <string>
#include <vector>

#include "kernel.h"

namespace cd {

// The instruction sets this machine can run, best first.
std::vector<std::string> instructionSets();

// The CPU back end for the best instruction set that is built, or the one that COMPRESS_DISTILL_ISA names. Loaded once a
// process. Throws Error with the remedy when there is none.
const Backend& cpuBackend();

}  // namespace cd
