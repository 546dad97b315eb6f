// The CPU back end for one instruction set. CMake compiles every kernels/*/cpu.cpp and this file once per instruction
// set into a plug-in of its own, so that no inline function compiled for AVX-512 can be picked by the linker elsewhere.
#include "../native/kernel.h"

namespace cd::cpu {
#define X(name, folder) void name(const Call&);
#include "ops.def"
#undef X

static const Kernel kKernels[] = {
#define X(name, folder) name,
#include "ops.def"
#undef X
};
static const Backend kBackend = {CD_ISA, kKernels, sizeof(kKernels) / sizeof(kKernels[0])};
}  // namespace cd::cpu

extern "C" __attribute__((visibility("default"))) const cd::Backend* compress_distill_backend() { return &cd::cpu::kBackend; }
