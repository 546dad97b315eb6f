// Collectives: enqueued on the JavaScript thread, handed by the stream's thread to a stream of their own when their turn has
// come. Those of a recording run where they are recorded, on the stream of the operations.
#include <algorithm>

#include "device.h"

namespace cd {

// --- of the JavaScript thread ---------------------------------------------------------------------------------------

int Device::addCommunicator(std::unique_ptr<Communicator> communicator) {
  if (communicators_.size() == kMaxCommunicators)
    throw Error("Expected at most " + std::to_string(kMaxCommunicators) +
                " communicators of one device; close the device when a run is over");
  if (!collectiveStream_)
    collectiveStream_ = std::make_unique<CollectiveStream>(
        accelerator_.get(),
        CollectiveStream::Handlers{
            [this](Command& command) { launchCollective(command); },
            [this](Command& command, bool reached, double seconds) { return isCollectiveThrough(command, reached, seconds); },
            [this](Command& command, bool first, double seconds) {
              return communicators_[static_cast<size_t>(command.attributes[0])]->come(first, command.op->name, seconds);
            },
            [this](Command& command) { retireKernel(command, nullptr); }},
        completed_);
  if (accelerator_) communicator->place(*accelerator_);
  // The streams' threads read the lists while these grow, so they never move.
  collectives_.push_back(communicator.get());
  communicators_.push_back(std::move(communicator));
  return static_cast<int>(collectives_.size()) - 1;
}

void Device::enqueueCollective(std::unique_ptr<Command> command) {
  if (recording_) return recording_->add(std::move(command));
  const int64_t number = collectiveStream_->number();
  for (const std::shared_ptr<Storage>& storage : command->storages)
    if (storage) storage->collective = number;
  const auto held = std::make_shared<std::unique_ptr<Command>>(std::move(command));  // a job can be copied
  const auto hand = [this, held, number](const Poison& poison) {
    if (!*held) return;
    (*held)->poison = poison;
    void* const behind = accelerator_ && !poison ? accelerator_->point(accelerator_->stream()) : nullptr;
    collectiveStream_->submit(std::move(*held), number, poison ? 0 : launchedCount_.load(std::memory_order_relaxed), behind);
  };
  // Where the device is lost the job does not run, but is told why. On an accelerator the telling also brings a fence.
  enqueueJob(nullptr, [hand](void*) { hand(nullptr); }, hand);
}

// The last collective that what is read or written by the command took part in; 0: none.
int64_t Device::collectiveBefore(const Command& command) const {
  if (!collectiveStream_) return 0;
  if (command.replayed) return collectiveStream_->enqueued();
  int64_t last = command.target ? command.target->collective : 0;
  for (const std::shared_ptr<Storage>& storage : command.storages)
    if (storage) last = std::max(last, storage->collective);
  return last > collectiveStream_->retired() ? last : 0;
}

// A block that is given back while a collective still uses it: its next owner comes behind that.
void Device::lend(const Storage& storage) {
  if (storage.collective == 0 || storage.collective <= collectiveStream_->retired()) return;
  if (storage.pool) lentOfPools_ = storage.collective;  // cut anew, so no address tells
  else lent_[storage.block] = storage.collective;
}

void Device::takeLent(Storage& storage) {
  if (!collectiveStream_) return;
  storage.collective = lentOfPools_;
  const auto known = lent_.find(storage.block);
  if (known == lent_.end()) return;
  storage.collective = std::max(storage.collective, known->second);
  lent_.erase(known);
}

// --- of the collectives' thread ---------------------------------------------------------------------------------------

void Device::launchCollective(Command& command) {
  if (!prepare(command)) return;
  Call call{command.op, command.tensors.data(), command.attributes.data(), nullptr, nullptr, collectives_.data()};
  if (accelerator_) call.stream = accelerator_->collectiveStream();
  run(command, call);
}

bool Device::isCollectiveThrough(Command& command, bool reached, double seconds) {
  Communicator& communicator = *communicators_[static_cast<size_t>(command.attributes[0])];
  if (!reached) return communicator.underWay(command.op->name, seconds), false;
  for (int index = 0; index < static_cast<int>(command.storages.size()); ++index) {
    const std::shared_ptr<Storage>& storage = command.storages[index];
    if (storage && command.op->parameter(index).access != Access::Out && storage->poison) return true;
  }
  try {
    return communicator.concluded();
  } catch (const std::exception& error) {
    command.poison = poisonOf(describe(command, error.what()));
    return true;
  }
}

}  // namespace cd
