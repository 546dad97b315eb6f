// This rank's place in a communicator of NCCL.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <thread>

#include "../../native/collective.h"
#include "nccl.h"

namespace cd::cuda::nccl {

inline void check(int status, const char* doing) {
  if (status == kSuccess || status == kInProgress) return;
  throw Error(std::string("NCCL: ") + doing + " failed: " + Interface::get().errorString(status) +
              "; NCCL_DEBUG=WARN tells more");
}

class Rank : public Collective::Link {
 public:
  // Joins the others, which all come here; rank 0's id travels by the group's own meeting.
  explicit Rank(Collective& group) : group_(group) {
    UniqueId id{};
    if (group.rank() == 0) check(api_.getUniqueId(&id), "starting");
    const char* const* ids = group.meet({"joining NCCL", Share::Root, DType::U8, sizeof id, 0}, &id);
    __builtin_memcpy(&id, ids[0], sizeof id);
    group.finish();
    Config config;
    check(api_.initRank(&communicator_, group.size(), id, group.rank(), &config), "joining the ranks");
    try {
      settle("joining the ranks");
    } catch (...) {
      abort();
      throw;
    }
  }
  // When all goes well the ranks part together, but none waits long for another.
  ~Rank() override {
    std::lock_guard lock(mutex_);
    if (aborted_) return;
    api_.finalize(communicator_);
    int status = kInProgress;
    for (int i = 0; i < 100 && api_.asyncError(communicator_, &status) == kSuccess && status == kInProgress; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    if (status == kInProgress) api_.abort(communicator_);
    else api_.destroy(communicator_);
  }

  void run(const char* doing, const std::function<int(Communicator)>& call) {
    {
#if !defined(CD_EMULATE)  // where the call itself is the collective, and abort must get through to it
      std::lock_guard lock(mutex_);
#endif
      if (aborted_) throw Error(group_.failure());
      check(call(communicator_), doing);
    }
    settle(doing);
  }

  // A collective under way ends, with whatever it has by then.
  void abort() override {
    std::lock_guard lock(mutex_);
    if (aborted_.exchange(true)) return;
    api_.abort(communicator_);
  }
  std::string problem() override {
    std::lock_guard lock(mutex_);
    if (aborted_) return group_.failure();
    int status = kSuccess;
    api_.asyncError(communicator_, &status);
    if (status == kSuccess || status == kInProgress) return "";
    return std::string("NCCL: a collective failed: ") + api_.errorString(status) + "; NCCL_DEBUG=WARN tells more";
  }

 private:
  // Until what was called has been taken up. Not for ever: the group's failure and its patience end the wait.
  void settle(const char* doing) {
    const auto since = std::chrono::steady_clock::now();
    while (true) {
      int status = kSuccess;
      {
        std::lock_guard lock(mutex_);
        if (aborted_) throw Error(group_.failure());
        check(api_.asyncError(communicator_, &status), doing);
      }
      check(status, doing);
      if (status == kSuccess) return;
      if (const std::string failure = group_.failure(); !failure.empty()) throw Error(failure);
      group_.expectPatience(doing, std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count());
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  Collective& group_;
  const Interface& api_ = Interface::get();
  Communicator communicator_ = nullptr;
  std::mutex mutex_;
  std::atomic<bool> aborted_{false};
};

}  // namespace cd::cuda::nccl
