#include "communicator.h"

#include <map>

namespace cd {

namespace {
std::mutex& registryMutex() {
  static std::mutex mutex;
  return mutex;
}

[[noreturn]] void fail(const std::string& name) {
  throw Error("Communicator '" + name + "': a rank has left; the others cannot go on");
}
}  // namespace

bool Communicator::Group::ended() {
  std::lock_guard lock(mutex);
  return aborted;
}

std::unique_ptr<Communicator> Communicator::join(const std::string& name, int rank, int size) {
  static std::map<std::string, std::weak_ptr<Group>> registry;
  if (size < 1 || rank < 0 || rank >= size)
    throw Error("Communicator '" + name + "': Expected 0 ≤ rank < size but received rank " + std::to_string(rank) + " of " +
                std::to_string(size));
  std::lock_guard lock(registryMutex());
  std::shared_ptr<Group> group;
  if (const auto known = registry.find(name); known != registry.end()) {
    // A name is used once: who comes late to a group that has ended must not wait for ranks that will not come.
    group = known->second.lock();
    if (!group || group->ended()) fail(name);
  } else {
    group = std::make_shared<Group>();
    group->name = name;
    group->size = size;
    group->present.assign(size, false);
    group->addresses.assign(size, nullptr);
    registry[name] = group;
  }
  if (group->size != size)
    throw Error("Communicator '" + name + "': Expected " + std::to_string(group->size) + " ranks but received a world size of " +
                std::to_string(size));
  if (group->present[rank]) throw Error("Communicator '" + name + "': rank " + std::to_string(rank) + " has joined already");
  group->present[rank] = true;
  return std::unique_ptr<Communicator>(new Communicator(std::move(group), rank));
}

Communicator::~Communicator() { abort(); }

int Communicator::size() const { return group_->size; }

void Communicator::abort() {
  {
    std::lock_guard lock(group_->mutex);
    group_->aborted = true;
  }
  group_->arrived.notify_all();
}

void* const* Communicator::exchange(void* mine) {
  {
    std::lock_guard lock(group_->mutex);
    group_->addresses[rank_] = mine;
  }
  barrier();
  return group_->addresses.data();
}

void Communicator::barrier() {
  std::unique_lock lock(group_->mutex);
  // Whoever waited when a rank left is still counted, so nobody may complete a round after that.
  if (group_->aborted) fail(group_->name);
  const uint64_t round = group_->round;
  if (++group_->waiting == group_->size) {
    group_->waiting = 0;
    ++group_->round;
    lock.unlock();
    group_->arrived.notify_all();
    return;
  }
  group_->arrived.wait(lock, [&] { return group_->aborted || group_->round != round; });
  if (group_->round == round) fail(group_->name);
}

}  // namespace cd
