// The ranks of a group that live in other processes, as one rank of this process reaches them: a stream of bytes each way
// for every such rank.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cd {

class Peers {
 public:
  struct Piece {
    int rank;  // whom it goes to or comes from
    void* data;
    int64_t bytes;
  };
  virtual ~Peers() = default;

  virtual const std::vector<int>& ranks() const = 0;  // rising

  // Sends and receives all pieces at once, in order for each rank; returns when the last one is through. While it waits it calls
  // `waiting` about ten times a second with the ranks that have not sent all yet, and gives up when that throws. Throws Error
  // when a connection breaks, and after `abort`. One thread at a time.
  virtual void swap(const std::vector<Piece>& outgoing, const std::vector<Piece>& incoming,
                    const std::function<void(const std::vector<int>& missing)>& waiting) = 0;

  // Called at most once, before anything else: `failed` is to be told, on any thread, when another process says that a rank of
  // the group has failed, or when it has gone without a word. `why` is one line that names the rank.
  virtual void watch(std::function<void(const std::string& why)> failed) = 0;

  // Tells the other processes why the group cannot go on, and ends a swap in progress. Any thread; returns without waiting.
  virtual void abort(const std::string& why) = 0;
};

}  // namespace cd
