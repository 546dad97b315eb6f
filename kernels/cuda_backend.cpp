// The CUDA back end: which kernels there are. CMake builds it twice: by nvcc for GPUs, and by the C++ compiler with the kernels
// emulated on the host, for tests.
#include "common/cuda_backend.h"
#include "../native/accelerator.h"

namespace cd::cuda {
// Weak: an operation whose folder has no CUDA kernel is null in the table, and enqueueing it is an error.
#define X(name, folder) __attribute__((weak)) void name(const Call&);
#include "ops.def"
#undef X

static const Kernel kKernels[] = {
#define X(name, folder) name,
#include "ops.def"
#undef X
};
static const Backend kBackend = {kBackendName, kKernels, sizeof(kKernels) / sizeof(kKernels[0]), openAccelerator, findLibraries};
}  // namespace cd::cuda

extern "C" __attribute__((visibility("default"))) const cd::Backend* compress_distill_backend() { return &cd::cuda::kBackend; }
