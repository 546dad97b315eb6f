// Finds and loads back-end plug-ins: shared libraries that lie beside the addon.
#pragma once

#include <string>
#include <vector>

#include "kernel.h"

namespace cd {

// The instruction sets this machine can run, best first.
std::vector<std::string> instructionSets();

// "cpu": the best instruction set that is built, or the one that COMPRESS_DISTILL_ISA names. "cuda": the plug-in for NVIDIA GPUs,
// asked for only where there is a driver. "cuda-emulated": the same kernels on the host, for tests. Each is loaded once a
// process. Throws Error with the remedy when there is none.
const Backend& findBackend(const std::string& name);

// What the CUDA plug-in finds on this machine, with or without a driver. Throws Error where the plug-in was not built.
std::vector<FoundLibrary> cudaLibraries();

}  // namespace cd
