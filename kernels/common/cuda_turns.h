// Turns of blocks: what several blocks add to, they add to in one order. A block may wait for those alone that have taken their
// tickets before it: they run or have run. (Of a block's index nobody says when it runs.)
//
//   if (threadIdx.x == 0) ticket = takeTicket(counter);  // 0 before the launch; what a block does follows from its ticket
//   one thread:  waitTurn(turn, number);  its part;  waitStored();  passTurn(turn);
#pragma once

#include "cuda.h"

namespace cd::cuda {

// 0, 1, … in the order in which blocks ask.
__device__ __forceinline__ int takeTicket(int32_t* counter) { return atomicAdd(counter, 1); }

// Until `turn`, 0 before the launch, was passed on `number` times. This thread and its copies then find what was there before.
#if defined(CD_EMULATE)
inline void waitTurn(const int32_t* turn, int number, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (*turn != number)
    emulation::current->fail("waits for turn " + std::to_string(number) + " at " + std::to_string(*turn) +
                                 ": blocks with earlier tickets will not pass it on",
                             {file, line});
}
#else
__device__ __forceinline__ void waitTurn(const int32_t* turn, int number) {
  int now;
  do asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(now) : "l"(turn) : "memory");
  while (now != number);
  asm volatile("fence.proxy.async;" ::: "memory");
}
#endif

__device__ __forceinline__ void passTurn(int32_t* turn) {
#if defined(CD_EMULATE)
  ++*turn;
#else
  asm volatile("fence.proxy.async;\nred.release.gpu.global.add.s32 [%0], 1;" ::"l"(turn) : "memory");
#endif
}

}  // namespace cd::cuda
