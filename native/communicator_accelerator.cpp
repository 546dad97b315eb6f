// A rank's place among others on accelerators, whose own library brings their data together: who has come for what, what is
// concluded, and what will never be.
#include <algorithm>
#include <cstdio>
#include <set>

#include "communicator.h"

namespace cd {

void Communicator::attach(std::shared_ptr<Link> link) {
  link_ = std::move(link);
  std::lock_guard lock(group_->mutex);
  group_->links[rank_] = link_;
}

void Communicator::place(const Accelerator& accelerator) {
  static std::mutex mutex;
  static std::set<std::pair<int, int>> told;
  const int own = accelerator.index();
  std::vector<int> others;
  {
    std::lock_guard lock(group_->mutex);
    others = group_->accelerators;
    group_->accelerators.push_back(own);
  }
  std::lock_guard lock(mutex);
  for (const int other : others) {
    if (other == own || accelerator.reaches(other) || !told.insert(std::minmax(own, other)).second) continue;
    std::fprintf(stderr,
                 "warning: cuda:%d and cuda:%d do not reach each other's memory (no peer-to-peer access): NCCL copies by way "
                 "of the host, which is slower; see `nvidia-smi topo -p2p r`, and give such GPUs to 'dp' rather than to 'tp'\n",
                 std::min(own, other), std::max(own, other));
  }
}

std::string Communicator::failure() const {
  std::lock_guard lock(group_->mutex);
  return group_->failure;
}

std::vector<int> Communicator::Group::notAnnounced(uint64_t number) const {
  std::vector<int> ranks;
  for (int rank : local)
    if (announcements[rank] < number) ranks.push_back(rank);
  return ranks;
}

void Communicator::announce(const Meeting& meeting) {
  Group& group = *group_;
  std::pair<int, Meeting> first(rank_, meeting);
  {
    std::lock_guard lock(group.mutex);
    if (!group.failure.empty()) throw Error(group.failure);
    const uint64_t place = group.announcements[rank_]++ - group.firstAnnounced;
    if (place == group.announced.size()) group.announced.push_back(first);
    else first = group.announced[place];
    if (group.notAnnounced(group.firstAnnounced + 1).empty()) {
      group.announced.pop_front();
      ++group.firstAnnounced;
    }
  }
  warned_ = false;
  expectSame(first.first, first.second, rank_, meeting);
}

bool Communicator::come(bool first, const char* doing, double seconds) {
  std::vector<int> missing;
  {
    std::lock_guard lock(group_->mutex);
    if (first) ++group_->comings[rank_];
    if (!group_->failure.empty()) return true;
    for (int rank : group_->local)
      if (group_->comings[rank] < group_->comings[rank_]) missing.push_back(rank);
  }
  expectInTime(missing, doing, seconds);
  return missing.empty();
}

bool Communicator::concluded() {
  if (const std::string problem = link_->problem(); !problem.empty()) throw Error(problem);
  std::lock_guard lock(group_->mutex);
  const uint64_t number = concluded_ + 1;
  group_->conclusions[rank_] = number;
  for (int rank : group_->local) {
    if (group_->conclusions[rank] >= number) continue;
    if (!group_->failure.empty()) throw Error(group_->failure);
    return false;
  }
  ++concluded_;
  return true;
}

void Communicator::underWay(const char* doing, double seconds) {
  std::string problem = link_ ? link_->problem() : "";
  try {
    expectPatience(doing, seconds);
  } catch (const Error& error) {
    problem = error.what();
  }
  if (!problem.empty()) group_->fail(problem);
  {
    // A rank of another process may have left because it was through: what it has sent still comes.
    std::lock_guard lock(group_->mutex);
    if (group_->failure.empty() || (problem.empty() && Clock::now() - group_->failedAt < std::chrono::seconds(2))) return;
  }
  link_->abort();
}

void Communicator::expectPatience(const char* doing, double seconds) {
  if (seconds < options_.warnAfterSeconds && seconds < options_.timeoutSeconds) return;
  std::vector<int> missing;
  {
    std::lock_guard lock(group_->mutex);
    missing = group_->notAnnounced(concluded_ + 1);
    std::erase(missing, rank_);
    if (missing.empty())
      for (int rank = 0; rank < group_->size; ++rank)
        if (rank != rank_) missing.push_back(rank);  // nobody here knows which one it is
  }
  expectInTime(missing, doing, seconds);
}

}  // namespace cd
