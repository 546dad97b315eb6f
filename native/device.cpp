#include "device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "peak.h"

namespace cd {

namespace {
// On a chaos device an address is handed around in this disguise, so that whoever reads it outside the stream crashes at once.
constexpr uintptr_t kDisguise = 0x5aull << 56;
constexpr int64_t kStagedBytes = int64_t{32} << 20, kTaskBytes = 1 << 20;
}  // namespace

void Command::clear() {
  tensors.clear();
  storages.clear();
  attributes.clear();
  op = nullptr;
  kernel = nullptr;
  trace.clear();
  target.reset();
  overwrites = false;
  job = nullptr;
  done = nullptr;
  replayed.reset();
  stepwise = false;
  failures.clear();
  after = 0;
  since = {};
  concluded = 0;
  poison.reset();
  fence = 0;
  start = end = nullptr;
}

Device::Device(const DeviceOptions& options)
    : backend_(*options.backend),
      accelerator_(backend_.open ? backend_.open(options.index) : nullptr),
      parallel_(options.threads),
      scratch_(accelerator_.get()),
      allocator_(accelerator_.get(), options.memoryLimit, [this] { wait(); }),
      costs_(backend_.kernelCount),
      chaos_(options.chaos),
      profile_(options.profile && accelerator_),
      debug_(accelerator_ && std::getenv("COMPRESS_DISTILL_DEBUG")),
      failures_(accelerator_.get()),
      thread_([this] { loop(); }) {
  communicators_.reserve(kMaxCommunicators);
  collectives_.reserve(kMaxCommunicators);
}

Device::~Device() {
  stop();
  for (const auto& storage : handles_)
    if (storage) allocator_.release(storage);
  for (const auto& recording : recordings_)
    if (recording) allocator_.leave(*recording->pool());
}

void Device::stop() {
  for (const auto& communicator : communicators_) communicator->leave();
  if (collectiveStream_) collectiveStream_->stop();
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

int64_t Device::allocate(int64_t bytes) {
  std::shared_ptr<Storage> storage = allocator_.allocate(bytes);
  takeLent(*storage);
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
  lend(*storage);
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
  const int64_t bytes = storage->blockBytes;
  enqueueJob(
      storage,
      [this, bytes](void* address) {
        if (accelerator_) accelerator_->fill(address, 0xff, bytes);
        else std::memset(address, 0xff, bytes);
      },
      nullptr, true);
}

std::unique_ptr<Command> Device::command() {
  std::lock_guard lock(mutex_);
  if (recycled_.empty()) return std::make_unique<Command>();
  std::unique_ptr<Command> command = std::move(recycled_.back());
  recycled_.pop_back();
  return command;
}

void Device::enqueue(std::unique_ptr<Command> command) {
  if (command->op && command->op->collective) return enqueueCollective(std::move(command));
  if (recording_) {
    recording_->add(std::move(command));
    return;
  }
  if (command->after == 0) command->after = collectiveBefore(*command);
  bool asleep;
  {
    std::lock_guard lock(mutex_);
    queue_.push_back(std::move(command));
    enqueued_.fetch_add(1, std::memory_order_release);
    asleep = asleep_;
  }
  if (asleep) wake_.notify_one();
}

void Device::enqueueJob(std::shared_ptr<Storage> target, std::function<void(void*)> job, std::function<void(const Poison&)> done,
                        bool overwrites) {
  std::unique_ptr<Command> command = this->command();
  command->target = std::move(target);
  command->overwrites = overwrites;
  command->job = std::move(job);
  command->done = std::move(done);
  enqueue(std::move(command));
}

void Device::write(std::shared_ptr<Storage> storage, int64_t offset, std::vector<uint8_t> data) {
  expectNoRecording("an upload");
  const bool whole = offset == 0 && static_cast<int64_t>(data.size()) == storage->bytes;
  auto staged = std::make_shared<const std::vector<uint8_t>>(std::move(data));  // a job can be copied, so its data is shared
  enqueueJob(
      std::move(storage),
      [this, staged, offset](void* address) {
        void* const target = static_cast<char*>(address) + offset;
        const int64_t bytes = static_cast<int64_t>(staged->size());
        if (accelerator_) accelerator_->copyIn(target, staged->data(), bytes);
        else std::memcpy(target, staged->data(), bytes);
      },
      nullptr, whole);
}

void Device::upload(std::shared_ptr<Storage> storage, int64_t offset, int64_t bytes, std::function<void(void*)> produce) {
  expectNoRecording("an upload");
  const bool whole = offset == 0 && bytes == storage->bytes;
  enqueueJob(
      std::move(storage),
      [this, offset, bytes, produce = std::move(produce)](void* address) {
        void* const target = static_cast<char*>(address) + offset;
        if (!accelerator_) return produce(target);
        const std::unique_ptr<char[]> staged(new char[bytes]);
        produce(staged.get());
        accelerator_->copyIn(target, staged.get(), bytes);
      },
      nullptr, whole);
}

// On an accelerator by way of a buffer that is filled again and again, since pages that are touched for the first time are slow.
void Device::uploadRows(std::shared_ptr<Storage> storage, int64_t offset, int64_t rows, int64_t rowBytes, ProduceRows produce) {
  expectNoRecording("an upload");
  const bool whole = offset == 0 && rows * rowBytes == storage->bytes;
  enqueueJob(
      std::move(storage),
      [this, offset, rows, rowBytes, produce = std::move(produce)](void* address) {
        char* const target = static_cast<char*>(address) + offset;
        if (!accelerator_) return produceRows(target, 0, rows, rowBytes, produce);
        const int64_t atOnce = std::max<int64_t>(1, kStagedBytes / std::max<int64_t>(1, rowBytes));
        for (int64_t first = 0; first < rows; first += atOnce) {
          const int64_t count = std::min(atOnce, rows - first), bytes = count * rowBytes;
          if (static_cast<int64_t>(staged_.size()) < bytes) staged_.resize(static_cast<size_t>(bytes));
          produceRows(staged_.data(), first, count, rowBytes, produce);
          accelerator_->copyIn(target + first * rowBytes, staged_.data(), bytes);
        }
      },
      nullptr, whole);
}

void Device::produceRows(char* target, int64_t first, int64_t count, int64_t rowBytes, const ProduceRows& produce) {
  const int64_t each = std::max<int64_t>(1, kTaskBytes / std::max<int64_t>(1, rowBytes));
  const auto task = [&](int64_t index) {
    const int64_t from = index * each;
    produce(target + from * rowBytes, first + from, std::min(each, count - from));
  };
  parallel_.run((count + each - 1) / each, [](void* state, int64_t index, int) { (*static_cast<decltype(task)*>(state))(index); },
                const_cast<void*>(static_cast<const void*>(&task)));
}

void Device::read(std::shared_ptr<Storage> storage, int64_t offset, int64_t bytes, void* target,
                  std::function<void(const Poison&)> done) {
  enqueueJob(
      std::move(storage),
      [this, offset, bytes, target](void* address) {
        const void* const source = static_cast<const char*>(address) + offset;
        if (accelerator_) accelerator_->copyOut(target, source, bytes);
        else std::memcpy(target, source, bytes);
      },
      std::move(done));
}

void Device::fence(std::function<void(const Poison&)> done) {
  std::unique_ptr<Command> command = this->command();
  command->done = std::move(done);
  if (collectiveStream_) command->after = collectiveStream_->enqueued();
  enqueue(std::move(command));
}

double Device::measureRate(int rate) {
  return accelerator_ ? accelerator_->measureRate(rate) : cd::measureRate(static_cast<Rate>(rate), threads());
}

void Device::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [&] { return completed_.load() == enqueued_.load() || stopping_; });
  lock.unlock();
  if (collectiveStream_) collectiveStream_->awaitAll();
}

}  // namespace cd
