#include "device.h"

#include <cstdlib>
#include <cstring>

#include "ops.h"

namespace cd {

namespace {
// On cpu-chaos an address is handed around in this disguise, so that whoever reads it outside the stream crashes at once.
constexpr uintptr_t kDisguise = 0x5aull << 56;

std::string describe(const Command& command, const char* what) {
  std::string text = std::string(command.op->name) + "(";
  for (int index = 0; index < command.tensorCount; ++index) {
    const Tensor& tensor = command.tensors[index];
    if (!tensor.present) continue;
    text += (text.back() == '(' ? "" : ", ") + std::string((command.op->tensors.begin() + index)->name) + " " +
            dtypeName(tensor.dtype) + shapeText(tensor);
  }
  text += "): " + std::string(what);
  return command.trace.empty() ? text : text + "\nenqueued " + command.trace;
}
}  // namespace

void Command::clear() {
  for (int index = 0; index < tensorCount; ++index) storages[index].reset();
  tensorCount = 0;
  op = nullptr;
  kernel = nullptr;
  trace.clear();
  target.reset();
  job = nullptr;
  done = nullptr;
}

Device::Device(const DeviceOptions& options)
    : backend_(cpuBackend()),
      parallel_(options.threads),
      allocator_(options.memoryLimit, [this] { wait(); }),
      costs_(backend_.kernelCount),
      chaos_(options.chaos),
      thread_([this] { loop(); }) {}

Device::~Device() {
  stop();
  for (const auto& storage : handles_)
    if (storage) allocator_.release(storage);
}

void Device::stop() {
  for (const auto& communicator : communicators_) communicator->abort();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

int64_t Device::allocate(int64_t bytes) {
  std::shared_ptr<Storage> storage = allocator_.allocate(bytes);
  if (chaos_) {
    storage->address = resolve(storage->block);  // the disguise is its own inverse
    chaosFill(storage);
  }
  if (freeHandles_.empty()) {
    handles_.push_back(std::move(storage));
    return static_cast<int64_t>(handles_.size()) - 1;
  }
  const int64_t handle = freeHandles_.back();
  freeHandles_.pop_back();
  handles_[handle] = std::move(storage);
  return handle;
}

void Device::release(int64_t handle) {
  std::shared_ptr<Storage> storage = this->storage(handle);
  handles_[handle].reset();
  freeHandles_.push_back(handle);
  if (chaos_) chaosFill(storage);
  allocator_.release(storage);
}

const std::shared_ptr<Storage>& Device::storage(int64_t handle) const {
  if (handle < 0 || handle >= static_cast<int64_t>(handles_.size()) || !handles_[handle])
    throw Error("Expected a live tensor but received handle " + std::to_string(handle) + ", which was disposed");
  return handles_[handle];
}

void* Device::resolve(void* address) const {
  return chaos_ ? reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(address) ^ kDisguise) : address;
}

// Fills a block with NaN (0xffff…) in stream order, when it changes hands.
void Device::chaosFill(const std::shared_ptr<Storage>& storage) {
  void* address = storage->block;
  const int64_t bytes = storage->blockBytes;
  enqueueJob(nullptr, [address, bytes](void*) { std::memset(address, 0xff, bytes); }, nullptr);
}

std::unique_ptr<Command> Device::command() {
  std::lock_guard lock(mutex_);
  if (recycled_.empty()) return std::make_unique<Command>();
  std::unique_ptr<Command> command = std::move(recycled_.back());
  recycled_.pop_back();
  return command;
}

void Device::enqueue(std::unique_ptr<Command> command) {
  bool idle;
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
    idle = enqueued_.fetch_add(1, std::memory_order_release) == completed_.load(std::memory_order_acquire);
  }
  if (idle) wake_.notify_one();
}

void Device::enqueueJob(std::shared_ptr<Storage> target, std::function<void(void*)> job,
                        std::function<void(const Poison&)> done) {
  std::unique_ptr<Command> command = this->command();
  command->target = std::move(target);
  command->job = std::move(job);
  command->done = std::move(done);
  enqueue(std::move(command));
}

void Device::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return completed_.load() == enqueued_.load() || stopping_; });
}

int Device::addCommunicator(std::unique_ptr<Communicator> communicator) {
  wait();  // the stream's thread reads the list without a lock
  collectives_.push_back(communicator.get());
  communicators_.push_back(std::move(communicator));
  return static_cast<int>(collectives_.size()) - 1;
}

void Device::loop() {
  std::vector<std::unique_ptr<Command>> batch;
  for (;;) {
    spinUntilNot([&] { return enqueued_.load(std::memory_order_acquire) == completed_.load(std::memory_order_relaxed); });
    {
      std::unique_lock lock(mutex_);
      for (auto& command : batch)
        if (recycled_.size() < 4096) recycled_.push_back(std::move(command));
      batch.clear();
      if (queue_.empty()) idle_.notify_all();
      wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
      if (stopping_) return;
      batch.swap(queue_);
    }
    for (auto& command : batch) {
      run(*command);
      command->clear();
      completed_.fetch_add(1, std::memory_order_release);
    }
  }
}

void Device::run(Command& command) {
  if (chaos_) {
    chaosState_ = chaosState_ * 6364136223846793005ull + 1442695040888963407ull;
    if ((chaosState_ >> 60) == 0) std::this_thread::sleep_for(std::chrono::microseconds((chaosState_ >> 40) % 300));
  }
  if (command.op) return runKernel(command);
  Poison poison = command.target ? command.target->poison : nullptr;
  try {
    if (!poison && command.job) command.job(command.target ? resolve(command.target->address) : nullptr);
  } catch (const std::exception& error) {
    poison = std::make_shared<std::string>(error.what());
    if (command.target) command.target->poison = poison;
  }
  if (command.done) command.done(poison);
}

void Device::runKernel(Command& command) {
  const TensorParameter* parameters = command.op->tensors.begin();
  Poison poison;
  for (int index = 0; index < command.tensorCount && !poison; ++index) {
    if (command.storages[index] && parameters[index].access != Access::Out) poison = command.storages[index]->poison;
    command.tensors[index].data =
        command.tensors[index].present ? static_cast<char*>(resolve(command.tensors[index].data)) : nullptr;
  }
  if (!poison) {
    try {
      const auto start = std::chrono::steady_clock::now();
      command.kernel(Call{command.op, command.tensors, command.attributes, &parallel_, &scratch_, collectives_.data()});
      costs_[command.number].calls.fetch_add(1, std::memory_order_relaxed);
      costs_[command.number].nanoseconds.fetch_add((std::chrono::steady_clock::now() - start).count(), std::memory_order_relaxed);
      return;
    } catch (const std::exception& error) {
      poison = std::make_shared<std::string>(describe(command, error.what()));
    }
  }
  // A rank that cannot take part must not leave the others waiting, nor meet them at its next collective instead.
  if (command.op == &ops::all_reduce) communicators_[static_cast<size_t>(command.attributes[0])]->abort();
  for (int index = 0; index < command.tensorCount; ++index)
    if (command.storages[index] && parameters[index].access != Access::In) command.storages[index]->poison = poison;
}

Device::StreamScratch::~StreamScratch() { std::free(memory_); }

void* Device::StreamScratch::reserve(int64_t bytes) {
  if (bytes > bytes_) {
    std::free(memory_);
    bytes_ = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    memory_ = std::aligned_alloc(64, bytes_);
    if (!memory_) {
      bytes_ = 0;
      throw Error("the system has no " + std::to_string(bytes >> 20) + " MiB of scratch memory left");
    }
  }
  return memory_;
}

}  // namespace cd
