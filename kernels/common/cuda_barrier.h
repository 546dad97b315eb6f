// Barriers in shared memory with phases (mbarrier, from sm_90 on): a phase ends when as many threads have arrived as the barrier
// was made for and all bytes that they announced have been copied. Waiting names a phase by its parity: 0 for the first one.
//
//   if (threadIdx.x == 0) initBarrier(full, 1);
//   fenceBarriers(); __syncthreads();
//   producer: arriveAnnouncing(full, bytes), copies (cuda_tma.h);   consumers: waitPhase(full, parity).
//
// A wait for the phase before the first one returns at once: a producer that waits for "empty" starts with parity 1.
#pragma once

#include "cuda.h"

#if defined(CD_EMULATE)
#include "cuda_transactions.h"
#endif

namespace cd::cuda {

struct alignas(8) PhaseBarrier {
  uint64_t state;
};

#if defined(CD_EMULATE)
namespace emulated {
inline emulation::BarrierWords* words(PhaseBarrier& barrier) {
  static_assert(sizeof(emulation::BarrierWords) == sizeof(PhaseBarrier));
  return reinterpret_cast<emulation::BarrierWords*>(&barrier);
}
}  // namespace emulated
#else
__device__ __forceinline__ uint32_t sharedAddress(const void* address) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(address));
}
#endif

// By one thread, once.
__device__ __forceinline__ void initBarrier(PhaseBarrier& barrier, int arrivals) {
#if defined(CD_EMULATE)
  emulation::current->transactions().init(emulated::words(barrier), arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(&barrier)), "r"(arrivals) : "memory");
#endif
}

// After the last initBarrier, before the __syncthreads from which on others use the barriers.
__device__ __forceinline__ void fenceBarriers() {
#if !defined(CD_EMULATE)
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#endif
}

__device__ __forceinline__ void arrive(PhaseBarrier& barrier) {
#if defined(CD_EMULATE)
  emulation::current->transactions().arrive(emulated::words(barrier), 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(&barrier)) : "memory");
#endif
}

// Arrives and says how many bytes copies will bring in this phase.
__device__ __forceinline__ void arriveAnnouncing(PhaseBarrier& barrier, int bytes) {
#if defined(CD_EMULATE)
  emulation::current->transactions().arrive(emulated::words(barrier), bytes);
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(&barrier)), "r"(bytes) : "memory");
#endif
}

#if defined(CD_EMULATE)
inline void waitPhase(PhaseBarrier& barrier, uint32_t parity, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  const uint32_t& phase = emulated::words(barrier)->phase;
  if ((phase & 1) == parity) emulation::current->waitWhile(&phase, phase, "waitPhase", {file, line});
}
#else
__device__ __forceinline__ void waitPhase(PhaseBarrier& barrier, uint32_t parity) {
  uint32_t ended;
  do {
    asm volatile(
        "{\n"
        ".reg .pred ended;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 ended, [%1], %2;\n"
        "selp.u32 %0, 1, 0, ended;\n"
        "}"
        : "=r"(ended)
        : "r"(sharedAddress(&barrier)), "r"(parity)
        : "memory");
  } while (!ended);
}
#endif

// What this thread wrote to shared memory is seen by the copy engine and by the products of warpgroups: in every thread that
// wrote, before the barrier after which one of them reads it.
__device__ __forceinline__ void fenceAsync() {
#if !defined(CD_EMULATE)
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// --- named barriers: `count` threads (whole warps) at barrier `id` of 1 … 15; 0 is __syncthreads --------------------------
// Some of them may arrive without waiting for the others.
#if defined(CD_EMULATE)
inline void syncThreads(int id, int count, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->meetBlock(id, count, false, "syncThreads", {file, line});
}
inline void arriveThreads(int id, int count, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->arriveBlock(id, count, "arriveThreads", {file, line});
}
#else
__device__ __forceinline__ void syncThreads(int id, int count) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}
__device__ __forceinline__ void arriveThreads(int id, int count) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(count) : "memory");
}
#endif

// Where a thread is in a ring of stages, each with a barrier of its own: which stage, and the parity of its phase.
template <int kStages>
struct RingPosition {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage < kStages) return;
    stage = 0;
    parity ^= 1;
  }
};

}  // namespace cd::cuda
