#include "thread_pool.h"

#include <algorithm>

#include "processor_claim.h"

namespace cd {

ThreadPool& ThreadPool::instance() {
  // Never destroyed, and the addon is linked so that it is never unmapped: idle helpers own nothing and cost nothing.
  static ThreadPool* pool = new ThreadPool;
  return *pool;
}

void ThreadPool::reserve(int threads) {
  std::lock_guard lock(mutex_);
  while (static_cast<int>(helpers_.size()) < threads - 1) helpers_.emplace_back([this] { helperLoop(); });
}

void ThreadPool::Region::work(int worker) {
  for (int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
    try {
      body(state, task, worker);
    } catch (...) {
      std::lock_guard lock(errorMutex);
      if (!error) error = std::current_exception();
      next.store(count, std::memory_order_relaxed);
    }
  }
}

ThreadPool::Region* ThreadPool::join(int& worker) {
  for (Region* region : regions_) {
    if (region->helpersJoined >= region->helpersWanted) continue;
    if (region->next.load(std::memory_order_relaxed) >= region->count) continue;
    worker = ++region->helpersJoined;
    region->helpersInside.fetch_add(1, std::memory_order_relaxed);
    return region;
  }
  return nullptr;
}

void ThreadPool::helperLoop() {
  ProcessorClaim claim;  // while it spins too: a stream's thread that finds it on its own CPU moves away
  for (;;) {
    const uint64_t seen = epoch_.load(std::memory_order_acquire);
    Region* region = nullptr;
    int worker = 0;
    {
      std::lock_guard lock(mutex_);
      region = join(worker);
    }
    claim.take();
    if (region) {
      region->work(worker);
      bool last;
      {
        std::lock_guard lock(mutex_);  // the region may be gone as soon as helpersInside is zero
        last = region->helpersInside.fetch_sub(1, std::memory_order_release) == 1;
      }
      if (last) finished_.notify_all();
      continue;
    }
    if (spinUntilNot([&] { return epoch_.load(std::memory_order_acquire) == seen; })) continue;
    claim.release();
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return epoch_.load(std::memory_order_acquire) != seen; });
  }
}

void ThreadPool::run(int threads, int64_t count, Parallel::Body body, void* state) {
  const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
  if (helpers <= 0) {
    for (int64_t task = 0; task < count; ++task) body(state, task, 0);
    return;
  }
  ProcessorClaim claim;
  claim.take();
  Region region(body, state, count, helpers);
  {
    std::lock_guard lock(mutex_);
    regions_.push_back(&region);
    epoch_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  region.work(0);
  {
    std::unique_lock lock(mutex_);
    regions_.erase(std::find(regions_.begin(), regions_.end(), &region));  // nobody joins from here on
  }
  if (!spinUntilNot([&] { return region.helpersInside.load(std::memory_order_acquire) != 0; })) {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return region.helpersInside.load(std::memory_order_acquire) == 0; });
  } else {
    std::lock_guard lock(mutex_);  // the last helper has left its critical section
  }
  if (region.error) std::rethrow_exception(region.error);
}

}  // namespace cd
