// What a device's own thread does: runs or launches commands, retires them, hands errors on.
#include <sys/prctl.h>

#include <cstdlib>

#include "device.h"

namespace cd {

namespace {
constexpr int kFenceEvery = 256;  // commands: often enough that retiring keeps step, rarely enough to cost nothing
constexpr auto kPollEvery = std::chrono::microseconds(20);
}  // namespace

std::string describe(const Command& command, const char* what) {
  std::string text = std::string(command.op->name) + "(";
  for (int index = 0; index < static_cast<int>(command.op->tensors.size()); ++index) {
    const Tensor& tensor = command.tensors[index];
    if (!tensor.present) continue;
    text += (text.back() == '(' ? "" : ", ") + std::string(command.op->parameter(index).name) + " " + dtypeName(tensor.dtype) +
            shapeText(tensor);
  }
  if (command.groups > 1) text += ", … in " + std::to_string(command.groups) + " groups";
  text += "): " + std::string(what);
  return command.trace.empty() ? text : text + "\nenqueued " + command.trace;
}

Poison poisonOf(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

bool Device::nothingNew() const {
  return enqueued_.load(std::memory_order_acquire) == launchedCount_.load(std::memory_order_relaxed);
}

void Device::loop() {
  if (accelerator_) {
    prctl(PR_SET_TIMERSLACK, 1000);  // of this thread: it wakes from its short sleeps on time
    try {
      accelerator_->attach();
      failures_.open();
    } catch (const std::exception& error) {
      lose(error.what());
    }
  }
  std::vector<std::unique_ptr<Command>> batch;
  while (awaitCommands(batch))
    for (auto& command : batch) {
      if (accelerator_) {
        launchAhead(std::move(command));
        continue;
      }
      launch(*command, nullptr, nullptr);
      launchedCount_.fetch_add(1, std::memory_order_relaxed);
      retire(*command, nullptr);
      command->clear();
      completed_.fetch_add(1, std::memory_order_release);
    }
}

// Swaps the batch that has run for the next one, or for none when launched commands should be looked at. False: stop.
bool Device::awaitCommands(std::vector<std::unique_ptr<Command>>& batch) {
  const bool ahead = !launched_.empty();
  // With work in flight there is no hurry: it sleeps for moments without being woken, so that enqueueing stays cheap.
  if (!ahead) spinUntilNot([&] { return nothingNew(); });
  else if (!retirePassed() && nothingNew()) {
    std::this_thread::sleep_for(kPollEvery);
    if (nothingNew() && sinceFence_ > 0) putFence();
  }
  std::unique_lock lock(mutex_);
  for (auto* done : {&batch, &retired_}) {
    for (auto& command : *done)
      if (command && recycled_.size() < 4096) recycled_.push_back(std::move(command));
    done->clear();
  }
  if (!ahead) {
    if (queue_.empty()) idle_.notify_all();
    asleep_ = true;
    wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    asleep_ = false;
  }
  batch.swap(queue_);
  return !stopping_;
}

// --- one command --------------------------------------------------------------------------------------------------

// failure, failureCount: where a kernel of an accelerator reports bad data.
void Device::launch(Command& command, Failure* failure, int32_t* failureCount) {
  if (chaos_) {
    chaosState_ = chaosState_ * 6364136223846793005ull + 1442695040888963407ull;
    if ((chaosState_ >> 60) == 0) std::this_thread::sleep_for(std::chrono::microseconds((chaosState_ >> 40) % 300));
  }
  if (command.after > 0) awaitLaunch(command.after);
  if (command.after > 0 && !collectiveStream_->follow(command.after)) command.poison = poisonOf("The device was closed");
  if (accelerator_ && !command.poison) awaitRanks(command);
  if (accelerator_ && command.poison) return;
  if (command.op) return launchKernel(command, failure, failureCount);
  if (command.replayed) {
    if (!accelerator_) replayHere(*command.replayed);
    else if (!command.stepwise) launchGraph(command);
    return;
  }
  if (!accelerator_ && command.target && !command.overwrites) command.poison = command.target->poison;
  if (command.poison || !command.job) return;
  try {
    command.job(command.target ? resolve(command.target->address) : nullptr);
  } catch (const std::exception& error) {
    command.poison = poisonOf(error.what());
  }
}

void Device::launchKernel(Command& command, Failure* failure, int32_t* failureCount, bool captured) {
  if (!prepare(command)) return;
  Call call{command.op, command.tensors.data(), command.attributes.data(), &parallel_, &scratch_, collectives_.data()};
  call.groups = command.groups;
  call.captured = captured;
  if (accelerator_) {
    call.stream = accelerator_->stream();
    call.failure = failure;
    call.failureCount = failureCount;
  }
  run(command, call);
}

// Makes the addresses real ones. False: an argument is poisoned, which is known here on the CPU only. An accelerator runs
// commands whose arguments turn out to be poisoned; their retirement, in order, says so.
bool Device::prepare(Command& command) {
  const int tensors = static_cast<int>(command.tensors.size());
  for (int index = 0; index < tensors && !command.poison; ++index) {
    if (!accelerator_ && command.storages[index] && command.op->parameter(index).access != Access::Out)
      command.poison = command.storages[index]->poison;
    command.tensors[index].data =
        command.tensors[index].present ? static_cast<char*>(resolve(command.tensors[index].data)) : nullptr;
  }
  return !command.poison;
}

void Device::run(Command& command, const Call& call) {
  const bool isOperation = !command.op->collective;  // of this stream, and not of the collectives' own
  try {
    if (profile_ && isOperation) command.start = accelerator_->mark();
    const auto start = std::chrono::steady_clock::now();
    command.kernel(call);
    costs_[command.number].calls.fetch_add(1, std::memory_order_relaxed);
    if (profile_ && isOperation) command.end = accelerator_->mark();
    else
      costs_[command.number].nanoseconds.fetch_add((std::chrono::steady_clock::now() - start).count(), std::memory_order_relaxed);
    if (debug_ && isOperation) accelerator_->synchronise();  // what goes wrong there is told as this operation's
  } catch (const std::exception& error) {
    command.poison = poisonOf(describe(command, error.what()));
  }
}

// failure: what the command's kernel reported, or null.
void Device::retire(Command& command, const Failure* failure) {
  // Its arguments' poison is known when the collectives before it are through.
  if (command.after > 0 && accelerator_) collectiveStream_->awaitRetired(command.after);
  if (command.op) return retireKernel(command, failure);
  if (command.replayed && accelerator_) retireReplay(command);
  if (command.target) {
    if (command.target->poison && !command.overwrites) command.poison = command.target->poison;
    else command.target->poison = command.poison;
  }
  if (command.done) command.done(command.poison);
}

void Device::retireKernel(Command& command, const Failure* failure) {
  const int tensors = static_cast<int>(command.tensors.size());
  if (command.end) {
    const double seconds = accelerator_->secondsBetween(command.start, command.end);
    costs_[command.number].nanoseconds.fetch_add(static_cast<int64_t>(seconds * 1e9), std::memory_order_relaxed);
  }
  if (accelerator_) {
    Poison poison;  // of an argument, known only now
    for (int index = 0; index < tensors && !poison; ++index)
      if (command.storages[index] && command.op->parameter(index).access != Access::Out) poison = command.storages[index]->poison;
    if (poison) command.poison = poison;
    else if (!command.poison && failure) {
      Call call{command.op, command.tensors.data(), command.attributes.data()};
      call.groups = command.groups;
      const std::string why = command.op->explain ? command.op->explain(call, *failure)
                                                  : "the kernel reported failure " + std::to_string(failure->code);
      command.poison = poisonOf(describe(command, why.c_str()));
    }
  }
  if (!command.poison) return;
  // A rank that cannot take part must not leave the others waiting, nor meet them at its next collective instead.
  if (command.op->collective) communicators_[static_cast<size_t>(command.attributes[0])]->leave(*command.poison);
  for (int index = 0; index < tensors; ++index)
    if (command.storages[index] && command.op->parameter(index).access != Access::In)
      command.storages[index]->poison = command.poison;
}

// --- on an accelerator ----------------------------------------------------------------------------------------------

void Device::launchAhead(std::unique_ptr<Command> command) {
  while (launched_.size() >= FailureLog::kPlaces && !retirePassed()) std::this_thread::sleep_for(kPollEvery);
  if (command->replayed && !command->replayed->isWarm && !command->stepwise) return launchStepwise(std::move(command));
  if (lost_) command->poison = lost_;
  else launch(*command, failures_.place(launchedCount_.load(std::memory_order_relaxed)), failures_.count());
  // Only then is it the accelerator's error and not the command's that the launch has met.
  if (command->poison && !lost_)
    if (const std::string reason = accelerator_->lost(); !reason.empty()) lose(reason);
  const bool awaited = command->done != nullptr;
  launched_.push_back(std::move(command));
  launchedCount_.fetch_add(1, std::memory_order_relaxed);
  if (lost_) return retireLaunched(launched_.size());
  if (++sinceFence_ == kFenceEvery || awaited) putFence();
}

// Of a collective. On an accelerator other ranks may wait for what was launched before to be concluded: it is retired meanwhile.
void Device::awaitLaunch(int64_t collective) {
  if (!accelerator_ || collectiveStream_->isLaunched(collective)) return;
  if (sinceFence_ > 0 && !launched_.empty()) putFence();
  while (!collectiveStream_->isLaunched(collective))
    if (!retirePassed()) std::this_thread::sleep_for(kPollEvery);
}

void Device::putFence() {
  try {
    failures_.copyCount();
    launched_.back()->fence = accelerator_->fence();
    sinceFence_ = 0;
  } catch (const std::exception& error) {
    lose(error.what());
  }
}

// Retires what lies before the newest fence that has passed. True when that was anything.
bool Device::retirePassed() {
  size_t count = 0;
  try {
    for (size_t index = 0; index < launched_.size(); ++index) {
      if (launched_[index]->fence == 0) continue;
      if (!accelerator_->passed(launched_[index]->fence)) break;
      count = index + 1;
    }
  } catch (const std::exception& error) {
    lose(error.what());
    return true;
  }
  // What waits for a collective is not waited for here: other ranks may need what is launched next.
  for (size_t index = 0; index < count; ++index) {
    if (launched_[index]->after > 0 && !collectiveStream_->isSettled(launched_[index]->after)) count = index;
    // Whether one that others take part in went well here is known when those before it are retired.
    else if (!meetings(*launched_[index]).empty() && (index > 0 || !isConcluded(*launched_[index]))) count = index;
  }
  if (count == 0) watchMeetings();
  if (count > 0) retireLaunched(count);
  return count > 0;
}

// Retires the oldest `count` commands; all of them when a kernel has reported a failure.
void Device::retireLaunched(size_t count) {
  std::vector<Failure> failures;
  if (!lost_ && failures_.any()) {
    try {
      failures = failures_.take();
    } catch (const std::exception& error) {
      return lose(error.what());
    }
    count = launched_.size();
    sinceFence_ = 0;
  }
  int64_t number = launchedCount_.load(std::memory_order_relaxed) - static_cast<int64_t>(launched_.size());
  for (size_t index = 0; index < count; ++index, ++number) {
    std::unique_ptr<Command> command = std::move(launched_.front());
    launched_.pop_front();
    const Failure* failure = failures.empty() ? nullptr : &failures[number % FailureLog::kPlaces];
    if (lost_) command->poison = lost_;
    while (!isConcluded(*command)) std::this_thread::sleep_for(kPollEvery);
    retire(*command, failure && failure->claimed ? failure : nullptr);
    command->clear();
    retired_.push_back(std::move(command));
    completed_.fetch_add(1, std::memory_order_release);
  }
}

// From here on every command fails, for the same reason.
void Device::lose(const std::string& reason) {
  lost_ = poisonOf(reason);
  sinceFence_ = 0;
  retireLaunched(launched_.size());
}

// --- scratch memory -------------------------------------------------------------------------------------------------

void Device::StreamScratch::release() {
  if (!memory_) return;
  if (accelerator_) accelerator_->free(memory_);
  else std::free(memory_);
  memory_ = nullptr;
  bytes_ = 0;
}

void* Device::StreamScratch::reserve(int64_t bytes) {
  if (bytes > bytes_) {
    release();
    ++generation_;
    const int64_t size = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    memory_ = accelerator_ ? accelerator_->allocate(size) : allocateOnLargePages(size);
    if (!memory_)
      throw Error(
          "Device memory: no room for " + std::to_string((size >> 20) + 1) +
          " MiB that the operation needs while it runs; use a smaller cache of keys and values, shorter sequences or smaller "
          "batches");
    bytes_ = size;
  }
  return memory_;
}

}  // namespace cd
