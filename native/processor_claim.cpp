#include "processor_claim.h"

#ifdef __linux__
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace cd {
namespace {

struct alignas(64) Processor {
  std::atomic<bool> claimed{false};
  bool claim() { return !claimed.load(std::memory_order_relaxed) && !claimed.exchange(true, std::memory_order_relaxed); }
};

Processor processors[CPU_SETSIZE];

// Moves the thread to a CPU that it may use and nobody claims, and claims it; -1 where there is none.
int moveToFree() {
  static const int count = static_cast<int>(std::min<long>(sysconf(_SC_NPROCESSORS_CONF), CPU_SETSIZE));
  for (int cpu = 0; cpu < count; ++cpu) {
    if (processors[cpu].claimed.load(std::memory_order_relaxed)) continue;
    cpu_set_t allowed, target;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -1;
    if (!CPU_ISSET(cpu, &allowed) || !processors[cpu].claim()) continue;
    CPU_ZERO(&target);
    CPU_SET(cpu, &target);
    const bool moved = sched_setaffinity(0, sizeof target, &target) == 0;
    if (moved) sched_setaffinity(0, sizeof allowed, &allowed);
    if (moved) return cpu;
    processors[cpu].claimed.store(false, std::memory_order_relaxed);
  }
  return -1;
}

}  // namespace

void ProcessorClaim::take() {
  const int now = sched_getcpu();
  if (now == cpu_ || now < 0 || now >= CPU_SETSIZE) return;
  release();
  cpu_ = processors[now].claim() ? now : moveToFree();
}

void ProcessorClaim::release() {
  if (cpu_ != kNone) processors[cpu_].claimed.store(false, std::memory_order_relaxed);
  cpu_ = kNone;
}

}  // namespace cd

#else

namespace cd {
void ProcessorClaim::take() {}
void ProcessorClaim::release() {}
}  // namespace cd

#endif
