#include "collective_stream.h"

#include "thread_pool.h"

namespace cd {

namespace {
constexpr auto kPollEvery = std::chrono::microseconds(20);
}

CollectiveStream::CollectiveStream(Accelerator* accelerator, Handlers handlers, const std::atomic<int64_t>& retiredOperations)
    : accelerator_(accelerator),
      handlers_(std::move(handlers)),
      retiredOperations_(retiredOperations),
      thread_([this] { loop(); }) {}

void CollectiveStream::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CollectiveStream::submit(std::unique_ptr<Command> command, int64_t number, int64_t operations, void* behind) {
  {
    std::lock_guard lock(mutex_);
    submitted_.push_back({std::move(command), number, operations, behind});
    submittedCount_.store(number, std::memory_order_release);
  }
  changed_.notify_all();
}

bool CollectiveStream::follow(int64_t number) {
  const auto isAhead = [&] { return launchedCount_.load(std::memory_order_acquire) < number && !stopping_; };
  spinUntilNot(isAhead);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !isAhead(); });
  for (const Item& item : launched_)
    if (item.number == number && item.end) accelerator_->follow(accelerator_->stream(), item.end);
  return !stopping_;
}

void CollectiveStream::awaitRetired(int64_t number) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return retired_ >= number || stopping_; });
}

void CollectiveStream::loop() {
  if (accelerator_) accelerator_->attach();
  while (true) {
    Item item;
    {
      const auto isIdle = [&] { return submittedCount_.load(std::memory_order_acquire) == launchedCount_ && !stopping_; };
      if (launched_.empty()) spinUntilNot(isIdle);
      std::unique_lock lock(mutex_);
      if (launched_.empty()) changed_.wait(lock, [&] { return !isIdle(); });
      else changed_.wait_for(lock, kPollEvery, [&] { return !isIdle(); });
      if (stopping_) return;
      if (!submitted_.empty()) {
        item = std::move(submitted_.front());
        submitted_.pop_front();
      }
    }
    if (item.command && accelerator_) awaitOthers(*item.command);
    if (item.command) launch(std::move(item));
    if (accelerator_) retirePassed();
  }
}

// Meanwhile what was launched before is concluded, without which others might never come.
void CollectiveStream::awaitOthers(Command& command) {
  const auto since = std::chrono::steady_clock::now();
  try {
    for (bool first = true; !command.poison && !stopping_; first = false) {
      if (handlers_.mayLaunch(command, first, std::chrono::duration<double>(std::chrono::steady_clock::now() - since).count()))
        return;
      retirePassed();
      std::this_thread::sleep_for(kPollEvery);
    }
  } catch (const std::exception& error) {
    command.poison = std::make_shared<const std::string>(error.what());
  }
}

void CollectiveStream::launch(Item item) {
  try {
    if (item.behind) accelerator_->follow(accelerator_->collectiveStream(), item.behind);
    if (!item.command->poison) handlers_.launch(*item.command);
    if (accelerator_ && !item.command->poison) item.end = accelerator_->point(accelerator_->collectiveStream());
  } catch (const std::exception& error) {
    item.command->poison = std::make_shared<const std::string>(error.what());
  }
  const int64_t number = item.number;
  {
    std::lock_guard lock(mutex_);
    launched_.push_back(std::move(item));
    if (!accelerator_) retireFirst();  // it has run; nobody hears of it before its poison is handed on
    launchedCount_.store(number, std::memory_order_release);
  }
  changed_.notify_all();
}

// What has run is retired when the operations before it are, whose failures are its own.
void CollectiveStream::retirePassed() {
  bool any = false;
  while (!launched_.empty()) {
    Item& item = launched_.front();
    if (retiredOperations_.load(std::memory_order_acquire) < item.operations) break;
    try {
      if (item.end && !isThrough(item)) break;
    } catch (const std::exception& error) {
      item.command->poison = std::make_shared<const std::string>(error.what());
    }
    std::lock_guard lock(mutex_);
    retireFirst();
    any = true;
  }
  if (any) changed_.notify_all();
}

bool CollectiveStream::isThrough(Item& item) {
  const bool reached = accelerator_->reached(item.end);
  const auto now = std::chrono::steady_clock::now();
  if (item.since == std::chrono::steady_clock::time_point{} && (!item.behind || accelerator_->reached(item.behind)))
    item.since = now;
  const bool began = item.since != std::chrono::steady_clock::time_point{};
  return handlers_.isThrough(*item.command, reached, began ? std::chrono::duration<double>(now - item.since).count() : 0);
}

void CollectiveStream::retireFirst() {
  Item& item = launched_.front();
  handlers_.retire(*item.command);
  for (void* point : {item.behind, item.end})
    if (point) accelerator_->drop(point);
  const int64_t number = item.number;
  launched_.pop_front();
  retired_.store(number, std::memory_order_release);
}

}  // namespace cd
