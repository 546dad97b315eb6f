// The process-wide pool. Streams of several devices and environments share it: each parallel region is offered to idle
// helpers while the stream's own thread works on it too, so a region finishes even if no helper is free, and nothing
// waits for a thread that waits for it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kernel.h"

namespace cd {

class ThreadPool {
 public:
  static ThreadPool& instance();

  // Makes sure that a region may use `threads` threads, the caller included.
  void reserve(int threads);

  // Runs body(state, task, worker) for each task in [0, count) on at most `threads` threads. Rethrows the first exception.
  void run(int threads, int64_t count, Parallel::Body body, void* state);

 private:
  struct Region {
    Parallel::Body body;
    void* state;
    int64_t count;
    int helpersWanted;
    Region(Parallel::Body body, void* state, int64_t count, int helpersWanted)
        : body(body), state(state), count(count), helpersWanted(helpersWanted) {}

    std::atomic<int64_t> next{0};
    std::atomic<int> helpersInside{0};
    int helpersJoined = 0;  // guarded by mutex_
    std::mutex errorMutex;
    std::exception_ptr error;

    void work(int worker);
  };

  ThreadPool() = default;
  void helperLoop();
  Region* join(int& worker);  // with mutex_ held

  std::mutex mutex_;
  std::condition_variable wake_, finished_;
  std::vector<Region*> regions_;
  std::vector<std::thread> helpers_;
  std::atomic<uint64_t> epoch_{0};
};

// The pool as a device's kernels see it: limited to the device's number of threads.
class PoolParallel : public Parallel {
 public:
  explicit PoolParallel(int threads) : threads_(threads) { ThreadPool::instance().reserve(threads); }
  int workers() const override { return threads_; }
  void run(int64_t count, Body body, void* state) override { ThreadPool::instance().run(threads_, count, body, state); }

 private:
  int threads_;
};

// Spins for at most 50 µs while `waiting()` holds; false when it still does. Spinning longer makes a second busy process
// on the machine cost tens of times more than it should.
template <class Condition>
bool spinUntilNot(Condition&& waiting) {
  if (!waiting()) return true;
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
  do {
    for (int i = 0; i < 64; ++i) {
      if (!waiting()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
  return !waiting();
}

}  // namespace cd
