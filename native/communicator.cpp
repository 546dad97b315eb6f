#include "communicator.h"

#include <algorithm>
#include <cstdio>
#include <map>

namespace cd {

const char kOthersCannotGoOn[] = "the others cannot go on";

namespace {
std::mutex& registryMutex() {
  static std::mutex mutex;
  return mutex;
}

std::string described(const Meeting& meeting) {
  std::string text = std::string(meeting.operation) + " of " + std::to_string(meeting.elements) + " elements of " +
                     dtypeName(static_cast<DType>(meeting.dtype & 3));
  return meeting.root >= 0 ? text + " from rank " + std::to_string(meeting.root) : text;
}

std::string secondsText(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}
}  // namespace

void Communicator::Group::fail(const std::string& why) {
  {
    std::lock_guard lock(mutex);
    if (!failure.empty()) return;
    failure = why;
    failedAt = Clock::now();
  }
  arrived.notify_all();
}

std::vector<int> Communicator::Group::behind(uint64_t step) const {
  std::vector<int> ranks;
  for (int rank : local)
    if (steps[rank] < step) ranks.push_back(rank);
  return ranks;
}

std::unique_ptr<Communicator> Communicator::join(const std::string& name, int rank, int size, const CommunicatorOptions& options,
                                                 std::unique_ptr<Peers> peers) {
  const std::string title = "Communicator '" + name + "': ";
  if (size < 1 || rank < 0 || rank >= size)
    throw Error(title + "Expected 0 ≤ rank < size but received rank " + std::to_string(rank) + " of " + std::to_string(size));
  std::lock_guard lock(registryMutex());
  static std::map<std::string, std::weak_ptr<Group>> registry;
  std::shared_ptr<Group> group;
  if (const auto known = registry.find(name); known != registry.end()) {
    // A name is used once: who comes late to a group that has ended must not wait for ranks that will not come.
    group = known->second.lock();
    if (!group) throw Error(title + "its ranks have left; " + kOthersCannotGoOn);
    std::lock_guard groupLock(group->mutex);
    if (!group->failure.empty()) throw Error(group->failure);
  } else {
    group = std::make_shared<Group>();
    group->name = name;
    group->size = size;
    for (int local = 0; local < size; ++local)
      if (!peers || !std::binary_search(peers->ranks().begin(), peers->ranks().end(), local)) group->local.push_back(local);
    group->present.assign(size, false);
    group->gone.assign(size, false);
    group->reading.assign(size, false);
    group->steps.assign(size, 0);
    for (auto& arrivals : group->arrivals) arrivals.resize(size);
    group->comings.assign(size, 0);
    group->announcements.assign(size, 0);
    group->conclusions.assign(size, 0);
    group->links.resize(size);
    registry[name] = group;
  }
  if (group->size != size)
    throw Error(title + "Expected " + std::to_string(group->size) +
                " ranks, which another rank has named, but received a size of " + std::to_string(size));
  if (group->present[rank]) throw Error(title + "rank " + std::to_string(rank) + " has joined already");
  group->present[rank] = true;
  return std::unique_ptr<Communicator>(new Communicator(std::move(group), rank, options, std::move(peers)));
}

Communicator::Communicator(std::shared_ptr<Group> group, int rank, const CommunicatorOptions& options,
                           std::unique_ptr<Peers> peers)
    : group_(std::move(group)),
      rank_(rank),
      options_(options),
      views_(group_->size, nullptr),
      received_(group_->size),
      peers_(std::move(peers)) {
  if (peers_) peers_->watch([group = group_](const std::string& why) { group->fail(why); });
}

Communicator::~Communicator() { leave(); }

void Communicator::leave(const std::string& why) {
  group_->fail(title() + named({rank_}) + " has left" + (why.empty() ? "" : " (" + why.substr(0, why.find('\n')) + ")") + "; " +
               kOthersCannotGoOn);
  std::string failure;
  std::vector<std::shared_ptr<Link>> links;  // of ranks in a collective that this one will never conclude
  {
    std::lock_guard lock(group_->mutex);
    left_ = true;
    if (!inside_) group_->gone[rank_] = true;  // else its own thread says so when it is out
    failure = group_->failure;
    for (int rank : group_->local)
      if (group_->announcements[rank] > group_->conclusions[rank_] && group_->links[rank]) links.push_back(group_->links[rank]);
    group_->links[rank_].reset();  // the library's part ends with this rank, on its own thread
  }
  group_->arrived.notify_all();
  for (const auto& link : links) link->abort();
  if (peers_) peers_->abort(failure);
}

const char* const* Communicator::meet(const Meeting& meeting, const void* mine) {
  try {
    meetOthers(meeting, mine);
  } catch (...) {
    withdraw();
    throw;
  }
  return views_.data();
}

void Communicator::meetOthers(const Meeting& meeting, const void* mine) {
  Group& group = *group_;
  std::vector<Arrival>& arrivals = group.arrivals[meetings_++ & 1];
  {
    std::lock_guard lock(group.mutex);
    inside_ = true;
    group.reading[rank_] = false;  // what it met for before
    if (!group.failure.empty()) throw Error(group.failure);
    arrivals[rank_] = {meeting, static_cast<const char*>(mine)};
    group.steps[rank_] = ++step_;
  }
  group.arrived.notify_all();
  since_ = Clock::now();
  warned_ = false;

  std::vector<Meeting> remote;
  if (peers_) {
    // To the others before anything else, so that whoever waits sees who it is that has not come.
    std::vector<Peers::Piece> outgoing, incoming;
    remote.assign(peers_->ranks().size(), meeting);
    Meeting own = meeting;
    for (size_t index = 0; index < remote.size(); ++index) {
      outgoing.push_back({peers_->ranks()[index], &own, sizeof own});
      incoming.push_back({peers_->ranks()[index], &remote[index], sizeof own});
    }
    swap(outgoing, incoming, meeting.operation);
  }
  awaitLocal(meeting.operation, step_, false);

  std::vector<const Meeting*> meetings(group.size);
  for (int rank : group.local) meetings[rank] = &*arrivals[rank].meeting;
  for (size_t index = 0; index < remote.size(); ++index) meetings[peers_->ranks()[index]] = &remote[index];
  expectSame(meetings);

  const int64_t size = dtypeSize(static_cast<DType>(meeting.dtype));
  for (int rank : group.local) {
    views_[rank] = arrivals[rank].data;
    if (meeting.share == Share::Scatter) views_[rank] += partBegin(meeting.elements, rank_) * size;
    if (meeting.share == Share::Gather) views_[rank] += partBegin(meeting.elements, rank) * size;
  }
  if (peers_) swapData(meeting, static_cast<const char*>(mine));
  {
    std::lock_guard lock(group.mutex);
    for (int rank : group.local)
      if (group.gone[rank]) throw Error(group.failure);
    group.reading[rank_] = true;
  }
  countReceived(meeting);
}

void Communicator::finish() {
  {
    std::lock_guard lock(group_->mutex);
    group_->reading[rank_] = false;
    group_->steps[rank_] = ++step_;
  }
  group_->arrived.notify_all();
  try {
    awaitLocal("the end of a collective", step_, true);
  } catch (...) {
    withdraw();
    throw;
  }
  {
    std::lock_guard lock(group_->mutex);
    inside_ = false;
    if (!left_) return;
    group_->gone[rank_] = true;
  }
  group_->arrived.notify_all();
}

// This rank takes no further part. Its data may go when this returns: nobody begins to read it, and whoever does has been waited
// for.
void Communicator::withdraw() {
  group_->fail(title() + named({rank_}) + " has left; " + kOthersCannotGoOn);  // where there is no reason yet
  std::unique_lock lock(group_->mutex);
  group_->gone[rank_] = true;
  group_->reading[rank_] = false;
  inside_ = false;
  lock.unlock();
  group_->arrived.notify_all();
  lock.lock();
  group_->arrived.wait(lock, [this] {
    return std::none_of(group_->local.begin(), group_->local.end(), [this](int rank) { return group_->reading[rank]; });
  });
}

// finishing: all ranks have met already, so only one of this process that will never come is a reason to give up: a rank of
// another process may have left because it was through.
void Communicator::awaitLocal(const char* operation, uint64_t step, bool finishing) {
  Group& group = *group_;
  std::vector<int> behind;
  const auto settled = [&] {
    behind = group.behind(step);
    if (behind.empty() || (!finishing && !group.failure.empty())) return true;
    return std::any_of(behind.begin(), behind.end(), [&](int rank) { return group.gone[rank]; });
  };
  std::unique_lock lock(group.mutex);
  while (!group.arrived.wait_for(lock, std::chrono::milliseconds(100), settled)) {
    lock.unlock();
    expectInTime(behind, operation, waited());
    lock.lock();
  }
  if (!behind.empty()) throw Error(group.failure);
}

void Communicator::expectSame(const std::vector<const Meeting*>& meetings) {
  for (size_t rank = 1; rank < meetings.size(); ++rank) expectSame(0, *meetings[0], static_cast<int>(rank), *meetings[rank]);
}

void Communicator::expectSame(int rank, const Meeting& expected, int other, const Meeting& meeting) {
  if (meeting == expected) return;
  const std::string why = title() + "Expected the same collective on every rank but rank " + std::to_string(rank) + " came for " +
                          described(expected) + " and rank " + std::to_string(other) + " for " + described(meeting);
  group_->fail(why);
  throw Error(why);
}

void Communicator::countReceived(const Meeting& meeting) {
  const int64_t own = partBegin(meeting.elements, rank_ + 1) - partBegin(meeting.elements, rank_), others = size() - 1;
  int64_t elements = meeting.elements * others;
  if (meeting.share == Share::Scatter) elements = own * others;
  if (meeting.share == Share::Gather) elements = meeting.elements - own;
  if (meeting.share == Share::Root) elements = rank_ == meeting.root ? 0 : meeting.elements;
  bytesReceived_.fetch_add(elements * dtypeSize(static_cast<DType>(meeting.dtype)), std::memory_order_relaxed);
}

void Communicator::swap(const std::vector<Peers::Piece>& outgoing, const std::vector<Peers::Piece>& incoming,
                        const char* operation) {
  try {
    peers_->swap(outgoing, incoming, [&](const std::vector<int>& missing) {
      {
        // What was on its way when a rank left still comes; what has not come soon after never will.
        std::lock_guard lock(group_->mutex);
        if (!group_->failure.empty() && Clock::now() - group_->failedAt > std::chrono::seconds(2)) throw Error(group_->failure);
      }
      expectInTime(missing, operation, waited());
    });
  } catch (const Error& error) {
    group_->fail(error.what());
    std::lock_guard lock(group_->mutex);
    throw Error(group_->failure);  // the first reason explains most
  }
}

void Communicator::swapData(const Meeting& meeting, const char* mine) {
  const int64_t size = dtypeSize(static_cast<DType>(meeting.dtype));
  const auto begin = [&](int rank) { return partBegin(meeting.elements, rank) * size; };
  const auto partOf = [&](int rank) { return std::pair(begin(rank), begin(rank + 1) - begin(rank)); };
  // What `from` brings for `to`: where it begins in the data, and how long it is.
  const auto part = [&](int from, int to) -> std::pair<int64_t, int64_t> {
    if (meeting.share == Share::Scatter) return partOf(to);
    if (meeting.share == Share::Gather) return partOf(from);
    if (meeting.share == Share::Root && from != meeting.root) return {0, 0};
    return {0, meeting.elements * size};
  };
  std::vector<Peers::Piece> outgoing, incoming;
  for (int rank : peers_->ranks()) {
    const auto [from, bytes] = part(rank_, rank);
    if (bytes > 0) outgoing.push_back({rank, const_cast<char*>(mine) + from, bytes});
    const int64_t coming = part(rank, rank_).second;
    if (static_cast<int64_t>(received_[rank].size()) < coming) received_[rank].resize(static_cast<size_t>(coming));
    if (coming > 0) incoming.push_back({rank, received_[rank].data(), coming});
    views_[rank] = received_[rank].data();
  }
  swap(outgoing, incoming, meeting.operation);
}

void Communicator::expectInTime(const std::vector<int>& missing, const char* operation, double seconds) {
  if (missing.empty()) return;
  if (seconds > options_.timeoutSeconds) {
    const std::string why = title() + named(missing) + " did not come to " + operation + " within " +
                            secondsText(options_.timeoutSeconds) + "; see what it does, or give it more time (timeoutSeconds)";
    group_->fail(why);
    throw Error(why);
  }
  const int speaker = [&] {
    for (int rank : group_->local)
      if (std::find(missing.begin(), missing.end(), rank) == missing.end()) return rank;
    return -1;
  }();
  if (seconds < options_.warnAfterSeconds || warned_ || speaker != rank_) return;
  warned_ = true;
  std::fprintf(stderr, "warning: %srank %d has waited %s at %s for %s\n", title().c_str(), rank_,
               secondsText(options_.warnAfterSeconds).c_str(), operation, named(missing).c_str());
}

std::string Communicator::named(const std::vector<int>& ranks) const {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t index = 0; index < ranks.size(); ++index) text += (index > 0 ? ", " : "") + std::to_string(ranks[index]);
  return text + " of " + std::to_string(group_->size);
}

}  // namespace cd
