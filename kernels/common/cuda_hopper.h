// Whether kernels for Hopper (cuda_barrier.h, cuda_tma.h, cuda_wgmma.h) may run: on a device of compute capability 9.0, and, as
// long as they have not been measured on one, where COMPRESS_DISTILL_HOPPER_KERNELS=1 asks for them.
#pragma once

#include <cstdlib>
#include <cstring>

#include "cuda.h"

// Bodies of such kernels are compiled for sm_90a alone: `#if CD_HOPPER`.
#if defined(CD_EMULATE) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define CD_HOPPER 1
#else
#define CD_HOPPER 0
#endif

namespace cd::cuda {

inline bool hopperKernels() {
  const char* const wanted = std::getenv("COMPRESS_DISTILL_HOPPER_KERNELS");
  if (!wanted || std::strcmp(wanted, "1") != 0) return false;
#if defined(CD_EMULATE)
  return true;
#else
  int device = 0, major = 0, minor = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess && major == 9 && minor == 0;
#endif
}

// Blocks of a persistent kernel that takes a multiprocessor for itself.
inline unsigned multiprocessors() {
#if defined(CD_EMULATE)
  return 2;
#else
  int device = 0, count = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
    throw Error("the device does not say how many multiprocessors it has");
  return static_cast<unsigned>(count);
#endif
}

}  // namespace cd::cuda
