// The stream on which a device's collectives run beside its operations, on a thread of its own, in the order in which they were
// enqueued. A collective comes behind all operations that were enqueued before it; an operation behind the collectives that
// its tensors, or the memory they lie in, took part in. Everything else goes on while a collective waits for other ranks.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "accelerator.h"
#include "command.h"

namespace cd {

class CollectiveStream {
 public:
  struct Handlers {
    std::function<void(Command&)>
        launch;  // runs it, or launches it on the accelerator's second stream; what goes wrong is its poison
    // On an accelerator: whether a collective, launched `seconds` ago, is through with all ranks; reached: with this one.
    std::function<bool(Command&, bool reached, double seconds)> isThrough;
    // On an accelerator, before it is launched, which may wait for other ranks: whether those of this process have come for it
    // too. first: this rank has just come; waits since `seconds`.
    std::function<bool(Command&, bool first, double seconds)> mayLaunch;
    std::function<void(Command&)> retire;  // hands its poison on
  };
  // retiredOperations: how many commands of the device have been retired.
  CollectiveStream(Accelerator* accelerator, Handlers handlers, const std::atomic<int64_t>& retiredOperations);
  ~CollectiveStream() { stop(); }
  void stop();  // waits for nothing; whoever waits here goes on

  // --- of the JavaScript thread
  int64_t number() { return ++enqueued_; }  // of the next collective, from 1
  int64_t enqueued() const { return enqueued_; }
  int64_t retired() const { return retired_.load(std::memory_order_acquire); }
  void awaitAll() { awaitRetired(enqueued_); }

  // --- of the thread that launches operations
  // Its turn has come: `operations` commands were launched before it, up to `behind` (null: they have run).
  void submit(std::unique_ptr<Command> command, int64_t number, int64_t operations, void* behind);
  // What is launched from here on comes behind this collective. False: the stream has been stopped.
  bool follow(int64_t number);
  bool isLaunched(int64_t number) const { return launchedCount_.load(std::memory_order_acquire) >= number || stopping_; }
  // Nobody waits any longer: it is through, or never will be.
  bool isSettled(int64_t number) const { return retired() >= number || stopping_; }
  void awaitRetired(int64_t number);

 private:
  struct Item {
    std::unique_ptr<Command> command;
    int64_t number, operations;
    void *behind, *end = nullptr;
    std::chrono::steady_clock::time_point since{};  // when nothing was before it any more
  };
  void loop();
  void awaitOthers(Command& command);
  void launch(Item item);
  void retirePassed();
  bool isThrough(Item& item);
  void retireFirst();

  Accelerator* const accelerator_;
  const Handlers handlers_;
  const std::atomic<int64_t>& retiredOperations_;
  int64_t enqueued_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> submitted_, launched_;
  std::atomic<int64_t> submittedCount_{0}, launchedCount_{0}, retired_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace cd
