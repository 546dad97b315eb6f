// Collectives between streams of one process, found by name: the CPU's stand-in for an NCCL communicator.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collective.h"

namespace cd {

class Communicator : public Collective {
 public:
  // Joins group `name`. The first rank to come fixes the size. Throws Error for a second size, a rank twice, and a group that a
  // rank has left: names are used once.
  static std::unique_ptr<Communicator> join(const std::string& name, int rank, int size);
  ~Communicator() override;  // leaving before the others are through fails their pending and later calls

  int rank() const override { return rank_; }
  int size() const override;
  void* const* exchange(void* mine) override;
  void barrier() override;
  void abort();

 private:
  struct Group {
    std::string name;
    int size;
    std::mutex mutex;
    std::condition_variable arrived;
    std::vector<bool> present;
    std::vector<void*> addresses;
    int waiting = 0;
    uint64_t round = 0;
    bool aborted = false;
    bool ended();
  };
  Communicator(std::shared_ptr<Group> group, int rank) : group_(std::move(group)), rank_(rank) {}

  std::shared_ptr<Group> group_;
  int rank_;
};

}  // namespace cd
