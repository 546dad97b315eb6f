// The two ways to a matrix product on a GPU. Contract and arguments: matmul.h.
#pragma once

#include "../../native/kernel.h"

namespace cd::cuda {

void multiplyPlain(const Call& call);        // the kernels of this project
bool multiplyWithLibrary(const Call& call);  // cuBLASLt; false: it is not there, or not for these arguments

}  // namespace cd::cuda
