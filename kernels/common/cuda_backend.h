// What the two builds of the CUDA back end differ in, besides their kernels: the accelerator.
#pragma once

#include "../../native/accelerator.h"

namespace cd::cuda {

extern const char kBackendName[];
Accelerator* openAccelerator(int index);  // throws Error with the remedy

std::vector<FoundLibrary> findLibraries();

}  // namespace cd::cuda
