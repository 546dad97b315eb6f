// Collectives of recordings on an accelerator: a graph, or its operations one by one, is launched when all ranks of this process
// have come for it, and retired when all of them say that their part went well. So none of them waits in a launch for one that
// never comes.
#include "device.h"

namespace cd {

namespace {
constexpr auto kPollEvery = std::chrono::microseconds(20);

double secondsSince(std::chrono::steady_clock::time_point then) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - then).count();
}
const char* nameOf(const Command& command) { return command.op ? command.op->name : "a replay"; }
}  // namespace

// The communicators by whose ranks a command of this stream is met. Collectives that were enqueued on their own have a stream of
// their own.
std::vector<int> Device::meetings(const Command& command) const {
  if (!accelerator_) return {};
  if (command.op) return command.op->collective ? std::vector<int>{static_cast<int>(command.attributes[0])} : std::vector<int>{};
  if (!command.replayed || command.stepwise) return {};
  const std::set<int>& numbers = command.replayed->communicators();
  return {numbers.begin(), numbers.end()};
}

// Meanwhile what was launched before is retired, without which others might never come.
void Device::awaitRanks(Command& command) {
  const std::vector<int> numbers = meetings(command);
  if (numbers.empty()) return;
  if (sinceFence_ > 0 && !launched_.empty()) putFence();
  command.since = std::chrono::steady_clock::now();
  try {
    for (const int number : numbers) {
      Communicator& communicator = *communicators_[static_cast<size_t>(number)];
      for (bool first = true; !communicator.come(first, nameOf(command), secondsSince(command.since)); first = false)
        if (!retirePassed()) std::this_thread::sleep_for(kPollEvery);
      // A collective says on its own what it is.
      if (command.replayed)
        communicator.announce({"replay", Share::Whole, DType::U8, static_cast<int64_t>(command.replayed->commands().size())});
    }
  } catch (const std::exception& error) {
    command.poison = command.op ? poisonOf(describe(command, error.what())) : poisonOf(error.what());
  }
  command.since = std::chrono::steady_clock::now();
}

// Whether the other ranks of this process say that their part went well, or this one's did not, of which they hear when it is
// retired. What was launched before it is retired.
bool Device::isConcluded(Command& command) {
  const std::vector<int> numbers = meetings(command);
  if (numbers.empty() || command.poison) return true;
  if (command.op) {
    for (int index = 0; index < static_cast<int>(command.storages.size()); ++index)
      if (command.storages[index] && command.op->parameter(index).access != Access::Out && command.storages[index]->poison)
        return true;
  } else if (command.replayed->dependsOnPoison() || (!command.failures.empty() && command.failures[0].claimed != 0)) {
    return true;
  }
  try {
    for (; command.concluded < numbers.size(); ++command.concluded)
      if (!communicators_[static_cast<size_t>(numbers[command.concluded])]->concluded()) return false;
  } catch (const std::exception& error) {
    command.poison = command.op ? poisonOf(describe(command, error.what())) : poisonOf(error.what());
  }
  return true;
}

// Ends the oldest one that is under way where it will never be through.
void Device::watchMeetings() {
  for (const std::unique_ptr<Command>& command : launched_) {
    const std::vector<int> numbers = meetings(*command);
    if (numbers.empty() || command->poison) continue;
    for (const int number : numbers)
      communicators_[static_cast<size_t>(number)]->underWay(nameOf(*command), secondsSince(command->since));
    return;
  }
}

void Device::leaveMeetings(const Command& replay, const std::string& why) {
  for (const int number : meetings(replay)) communicators_[static_cast<size_t>(number)]->leave(why);
}

}  // namespace cd
