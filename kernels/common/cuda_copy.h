// Asynchronous copies from global into shared memory (cp.async): issued by a thread, gathered into groups, waited for by that
// thread. Then a barrier, before other threads read what arrived. In emulation a copy poisons its target at once and arrives at
// the wait.
#pragma once

#include "cuda.h"

namespace cd::cuda {

// 16 bytes, both ends aligned to 16; the first `valid` bytes come from `source` (which is not touched when valid is 0), the rest
// is 0.
__device__ __forceinline__ void copyAsync16(void* target, const void* source, int valid = 16) {
#if defined(CD_EMULATE)
  if (reinterpret_cast<uintptr_t>(target) % 16 != 0 || (valid > 0 && reinterpret_cast<uintptr_t>(source) % 16 != 0))
    emulation::current->fail("copyAsync16: an address is not aligned to 16 bytes");
  emulation::current->copyLater(target, source, 16, valid);
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(target));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(valid) : "memory");
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void copyAsyncCommit() {
#if defined(CD_EMULATE)
  emulation::current->endCopyGroup();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last `Left` ended groups of this thread have arrived.
template <int Left>
__device__ __forceinline__ void copyAsyncWait() {
#if defined(CD_EMULATE)
  emulation::current->waitForCopies(Left);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(Left) : "memory");
#endif
}

}  // namespace cd::cuda
