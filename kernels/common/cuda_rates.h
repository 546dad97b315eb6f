// What the GPU itself can do, measured: the denominators of every benchmark.
#pragma once

#include "cuda_runtime_host.h"

namespace cd::cuda {

// 0: f32 and 1: bf16 matrix products of this project, FLOP/s; 2: memory to memory, bytes read plus bytes written a second;
// 3: memory to registers, bytes a second. The best of several passes. Throws Error.
double measureRate(int rate, void* stream);

// Whether the plug-in has kernels for the present device: cudaErrorNoKernelImageForDevice where it has not.
cudaError_t probeKernelImage();

}  // namespace cd::cuda
