// A CPU device: an asynchronous stream on a thread of its own, with memory and an error that follows the data.
//
// All methods are called on the JavaScript thread that opened the device, except what the stream's thread does itself.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "backend.h"
#include "communicator.h"
#include "storage.h"
#include "thread_pool.h"

namespace cd {

constexpr int kMaxTensors = 16;
constexpr int kMaxAttributes = 16;

// One queued operation: either a kernel or a host job (a copy, a file read, a fence).
struct Command {
  const Op* op = nullptr;
  int number = 0;  // of the operation
  Kernel kernel = nullptr;
  int tensorCount = 0;
  Tensor tensors[kMaxTensors];  // `data` holds the opaque address until the command runs
  std::shared_ptr<Storage> storages[kMaxTensors];
  double attributes[kMaxAttributes];
  std::string trace;  // where it was enqueued, in debug mode

  std::shared_ptr<Storage> target;  // of a job: poisoned when the job throws
  std::function<void(void* address)> job;
  std::function<void(const Poison& poison)> done;  // of a job: told how it went

  void clear();
};

// What an operation has cost on the stream's thread since the device was opened.
struct OpCost {
  std::atomic<int64_t> calls{0};
  std::atomic<int64_t> nanoseconds{0};
};

struct DeviceOptions {
  int threads = 1;
  int64_t memoryLimit = INT64_MAX;
  bool chaos = false;  // random delays, NaN-filled memory, opaque addresses, failures on demand
};

class Device {
 public:
  explicit Device(const DeviceOptions& options);
  ~Device();  // drops what is queued, stops the thread

  const Backend& backend() const { return backend_; }
  int threads() const { return parallel_.workers(); }
  Allocator& allocator() { return allocator_; }
  const std::vector<OpCost>& costs() const { return costs_; }  // in the order of allOps()

  // Handles are small integers; a released one is used again.
  int64_t allocate(int64_t bytes);
  void release(int64_t handle);
  const std::shared_ptr<Storage>& storage(int64_t handle) const;  // throws Error when it is not live

  // A command to fill in and enqueue; recycled from ones that have run.
  std::unique_ptr<Command> command();
  void enqueue(std::unique_ptr<Command> command);

  // Runs job(address of `target`, or null) in stream order, then done(null, or why it did not run).
  void enqueueJob(std::shared_ptr<Storage> target, std::function<void(void*)> job, std::function<void(const Poison&)> done);
  void wait();  // blocks until the stream is idle

  int addCommunicator(std::unique_ptr<Communicator> communicator);
  void stop();  // no command runs after this

 private:
  class StreamScratch : public Scratch {
   public:
    ~StreamScratch() override;
    void* reserve(int64_t bytes) override;

   private:
    void* memory_ = nullptr;
    int64_t bytes_ = 0;
  };

  void loop();
  void run(Command& command);
  void runKernel(Command& command);
  void* resolve(void* address) const;
  void chaosFill(const std::shared_ptr<Storage>& storage);

  const Backend& backend_;
  PoolParallel parallel_;
  StreamScratch scratch_;
  Allocator allocator_;
  std::vector<OpCost> costs_;
  bool chaos_;
  uint64_t chaosState_ = 1;

  std::vector<std::shared_ptr<Storage>> handles_;
  std::vector<int64_t> freeHandles_;
  std::vector<std::unique_ptr<Communicator>> communicators_;
  std::vector<Collective*> collectives_;

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::unique_ptr<Command>> queue_, recycled_;
  std::atomic<int64_t> enqueued_{0};
  std::atomic<int64_t> completed_{0};
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace cd
