// A device: an asynchronous stream on a thread of its own, with memory and an error that follows the data.
//
// On the CPU the thread runs a command at once and retires it. On an accelerator it launches it, and retires it when a fence
// behind it has passed: only then is it known whether the command failed, so that is when errors are handed on, in the
// order of the commands, and when promises settle.
//
// All methods are called on the JavaScript thread that opened the device, except what the stream's thread does itself.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend.h"
#include "collective_stream.h"
#include "command.h"
#include "communicator.h"
#include "failure_log.h"
#include "recording.h"
#include "storage.h"
#include "thread_pool.h"

namespace cd {

// What an operation has cost since the device was opened: the stream's thread, or, in an accelerator's profile, the accelerator.
struct OpCost {
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> nanoseconds{0};
};

struct DeviceOptions {
  const Backend* backend;
  int index = 0;         // of the accelerator
  bool profile = false;  // an accelerator: time operations there, and not their launches
  int threads = 1;
  int64_t memoryLimit = INT64_MAX;
  bool chaos = false;  // random delays, NaN-filled memory, opaque addresses, failures on demand
};

class Device {
 public:
  explicit Device(const DeviceOptions& options);
  ~Device();  // drops what is queued, stops the thread

  const Backend& backend() const { return backend_; }
  const Accelerator* accelerator() const { return accelerator_.get(); }  // null: the CPU
  int threads() const { return parallel_.workers(); }
  Allocator& allocator() { return allocator_; }
  int64_t scratchBytes() const { return scratch_.bytes(); }
  int64_t graphReplays() const { return graphReplays_; }
  const std::vector<OpCost>& costs() const { return costs_; }  // in the order of allOps()

  // Handles are small integers; a released one is used again.
  int64_t allocate(int64_t bytes);
  void release(int64_t handle);
  const std::shared_ptr<Storage>& storage(int64_t handle) const;  // throws Error when it is not live

  // A command to fill in and enqueue; recycled from ones that have run.
  std::unique_ptr<Command> command();
  void enqueue(std::unique_ptr<Command> command);

  // In stream order. `produce` fills `bytes` of host memory on the stream's thread; `done` is told null, or why not.
  void write(std::shared_ptr<Storage> storage, int64_t offset, std::vector<uint8_t> data);
  void upload(std::shared_ptr<Storage> storage, int64_t offset, int64_t bytes, std::function<void(void*)> produce);
  // produce(target, first, count) makes rows of `rowBytes`; threads of the pool call it, each for other rows.
  using ProduceRows = std::function<void(void*, int64_t first, int64_t count)>;
  void uploadRows(std::shared_ptr<Storage> storage, int64_t offset, int64_t rows, int64_t rowBytes, ProduceRows produce);
  void read(std::shared_ptr<Storage> storage, int64_t offset, int64_t bytes, void* target,
            std::function<void(const Poison&)> done);
  void fence(std::function<void(const Poison&)> done);
  double measureRate(int rate);  // called from `produce`
  // Between the two what is enqueued is kept and not run; only operations may be. Memory taken meanwhile is the recording's, in
  // common with recording `sharing` (−1: none), whose replays then overwrite what this one's left, and the other way round.
  void startRecording(int64_t sharing);
  int64_t stopRecording();  // → its number
  void replay(int64_t number);
  void releaseRecording(int64_t number);
  void expectNoRecording(const char* what) const;  // throws Error while there is one

  void wait();  // blocks until the stream is idle

  static constexpr size_t kMaxCommunicators = 64;
  int addCommunicator(std::unique_ptr<Communicator> communicator);
  const std::vector<Collective*>& collectives() const { return collectives_; }
  Communicator& communicator(int64_t number) const { return *communicators_.at(static_cast<size_t>(number)); }
  void stop();  // no command runs after this

 private:
  class StreamScratch : public Scratch {
   public:
    explicit StreamScratch(Accelerator* accelerator) : accelerator_(accelerator) {}
    ~StreamScratch() override { release(); }
    void* reserve(int64_t bytes) override;
    // Rises whenever the memory moves.
    uint64_t generation() const { return generation_; }
    int64_t bytes() const { return bytes_; }

   private:
    void release();

    Accelerator* accelerator_;
    void* memory_ = nullptr;
    std::atomic<int64_t> bytes_{0};
    uint64_t generation_ = 0;
  };

  void enqueueJob(std::shared_ptr<Storage> target, std::function<void(void*)> job, std::function<void(const Poison&)> done,
                  bool overwrites = false);
  void loop();
  const std::shared_ptr<Recording>& recording(int64_t number) const;  // throws Error when it was disposed
  bool awaitCommands(std::vector<std::unique_ptr<Command>>& batch);
  bool nothingNew() const;
  void launch(Command& command, Failure* failure, int32_t* failureCount);
  void replayHere(Recording& recording);
  void launchKernel(Command& command, Failure* failure, int32_t* failureCount, bool captured = false);
  bool prepare(Command& command);
  void run(Command& command, const Call& call);
  void retire(Command& command, const Failure* failure);
  void retireReplay(const Command& command);
  void retireKernel(Command& command, const Failure* failure);
  void* resolve(void* address) const;
  void chaosFill(const std::shared_ptr<Storage>& storage);

  void enqueueCollective(std::unique_ptr<Command> command);
  int64_t collectiveBefore(const Command& command) const;
  void lend(const Storage& storage);
  void takeLent(Storage& storage);
  void launchCollective(Command& command);
  bool isCollectiveThrough(Command& command, bool reached, double seconds);

  // Commands of this stream that other ranks take part in: of recordings, on an accelerator
  std::vector<int> meetings(const Command& command) const;
  void awaitRanks(Command& command);
  bool isConcluded(Command& command);
  void watchMeetings();
  void leaveMeetings(const Command& replay, const std::string& why);

  // On an accelerator
  void launchAhead(std::unique_ptr<Command> command);
  void launchStepwise(std::unique_ptr<Command> replay);
  void launchGraph(Command& replay);
  void awaitLaunch(int64_t collective);
  void putFence();
  bool retirePassed();
  void retireLaunched(size_t count);
  void lose(const std::string& reason);

  void produceRows(char* target, int64_t first, int64_t count, int64_t rowBytes, const ProduceRows& produce);

  const Backend& backend_;
  const std::unique_ptr<Accelerator> accelerator_;
  PoolParallel parallel_;
  StreamScratch scratch_;
  Allocator allocator_;
  std::vector<OpCost> costs_;
  bool chaos_, profile_, debug_;
  uint64_t chaosState_ = 1;

  std::vector<std::shared_ptr<Storage>> handles_;
  std::vector<int64_t> freeHandles_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
  std::vector<Collective*> collectives_;
  std::unordered_map<void*, int64_t> lent_;  // blocks given back while a collective uses them: its number
  int64_t lentOfPools_ = 0;                  // the last collective that uses a block given back to a pool

  std::shared_ptr<Recording> recording_;                // in progress
  std::vector<std::shared_ptr<Recording>> recordings_;  // by number; null: disposed

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::unique_ptr<Command>> queue_, recycled_;
  std::atomic<int64_t> enqueued_{0}, launchedCount_{0}, completed_{0}, graphReplays_{0};
  bool asleep_ = false, stopping_ = false;

  // Of the stream's thread, on an accelerator: what was launched and is not retired, and where it reports failures.
  std::deque<std::unique_ptr<Command>> launched_;
  std::vector<std::unique_ptr<Command>> retired_;
  int sinceFence_ = 0;
  FailureLog failures_;
  Poison lost_;

  std::vector<char> staged_;  // of the stream's thread: rows on their way to an accelerator

  std::unique_ptr<CollectiveStream> collectiveStream_;  // from the first communicator on
  std::thread thread_;
};

}  // namespace cd
