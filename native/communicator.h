// Collectives between streams of one process, found by name, and of other processes that Peers reach.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "accelerator.h"
#include "collective.h"
#include "peers.h"

namespace cd {

// In every message of a rank that fails because another one has. src/distributed/communicator.ts tells causes from consequences
// by it.
extern const char kOthersCannotGoOn[];

struct CommunicatorOptions {
  double timeoutSeconds = 600;   // how long a rank waits for the others at a collective
  double warnAfterSeconds = 30;  // when it tells on stderr whom it waits for
};

class Communicator : public Collective {
 public:
  // Joins group `name`. The first rank of this process to come fixes the size. peers: the ranks of other processes; null: there
  // are none. Throws Error for a second size, a rank twice, and a group that a rank has left: names are used once.
  static std::unique_ptr<Communicator> join(const std::string& name, int rank, int size, const CommunicatorOptions& options = {},
                                            std::unique_ptr<Peers> peers = nullptr);
  ~Communicator() override;  // leaves

  int rank() const override { return rank_; }
  int size() const override { return group_->size; }
  const char* const* meet(const Meeting& meeting, const void* mine) override;
  void finish() override;
  // Fails the pending and later calls of the others, who hear which rank it was, and why where that is said. Any thread.
  void leave(const std::string& why = "");

  Link* link() const override { return link_.get(); }
  void attach(std::shared_ptr<Link> link) override;
  void announce(const Meeting& meeting) override;
  std::string failure() const override;
  void expectPatience(const char* doing, double seconds) override;
  // This rank's accelerator. Warns on stderr, once of each pair, where it and another rank's of this process do not reach each
  // other.
  void place(const Accelerator& accelerator);
  // Whether all ranks of this process have come for this rank's next collective, or have failed. first: this one has just come.
  bool come(bool first, const char* doing, double seconds);
  // An accelerator has run this rank's part of the oldest collective that is not concluded. → whether the other ranks of this
  // process say so of theirs, whose operands may turn out to have been poisoned; throws Error when one never will.
  bool concluded();
  // The accelerator is still at it, for so long: ends it where it will never be through.
  void underWay(const char* doing, double seconds);

  int64_t bytesReceived() const { return bytesReceived_.load(std::memory_order_relaxed); }  // from other ranks, on the CPU

 private:
  using Clock = std::chrono::steady_clock;
  struct Arrival {
    std::optional<Meeting> meeting;
    const char* data = nullptr;
  };
  // What the ranks of one process share.
  struct Group {
    std::string name;
    int size;
    std::vector<int> local;
    std::mutex mutex;
    std::condition_variable arrived;
    // Of each rank: has joined; will not come any more, and its data may go; is between meeting the others and needing their data
    // no more.
    std::vector<bool> present, gone, reading;
    std::vector<uint64_t> steps;       // of each rank: how often it has met or finished
    std::vector<Arrival> arrivals[2];  // of this meeting and the next: a rank can be one ahead of another
    std::string failure;               // why the group has ended; empty: it has not
    Clock::time_point failedAt;
    // Of accelerators: what the ranks have come for, from the first that not all have, and how often each has come and concluded.
    std::deque<std::pair<int, Meeting>> announced;
    uint64_t firstAnnounced = 0;
    std::vector<uint64_t> comings, announcements, conclusions;
    std::vector<std::shared_ptr<Link>> links;
    std::vector<int> accelerators;  // their numbers, of those that have been placed

    void fail(const std::string& why);  // the first reason stays
    std::vector<int> behind(uint64_t step) const;
    std::vector<int> notAnnounced(uint64_t number) const;
  };
  Communicator(std::shared_ptr<Group> group, int rank, const CommunicatorOptions& options, std::unique_ptr<Peers> peers);

  void meetOthers(const Meeting& meeting, const void* mine);
  void withdraw();
  void awaitLocal(const char* operation, uint64_t step, bool finishing);
  void expectSame(const std::vector<const Meeting*>& meetings);
  void swap(const std::vector<Peers::Piece>& outgoing, const std::vector<Peers::Piece>& incoming, const char* operation);
  void swapData(const Meeting& meeting, const char* mine);
  void expectInTime(const std::vector<int>& missing, const char* operation, double seconds);
  double waited() const { return std::chrono::duration<double>(Clock::now() - since_).count(); }
  void countReceived(const Meeting& meeting);
  void expectSame(int rank, const Meeting& expected, int other, const Meeting& meeting);
  std::string named(const std::vector<int>& ranks) const;
  std::string title() const { return "Communicator '" + group_->name + "': "; }

  std::shared_ptr<Group> group_;
  int rank_;
  CommunicatorOptions options_;
  uint64_t meetings_ = 0, step_ = 0, concluded_ = 0;
  bool inside_ = false, left_ = false;       // under the group's mutex: in a collective on its own thread; `leave` was called
  Clock::time_point since_;                  // when the present wait began
  std::atomic<bool> warned_{false};          // in it
  std::vector<const char*> views_;           // what `meet` returns
  std::vector<std::vector<char>> received_;  // by rank, from other processes
  std::shared_ptr<Link> link_;
  std::atomic<int64_t> bytesReceived_{0};
  std::unique_ptr<Peers> peers_;  // last: its threads tell the group, which must be there still
};

}  // namespace cd
