// What a collective kernel sees of its group: who it is, and a meeting at which ranks see each other's data. On the CPU the ranks
// are streams of one process, and of others that Peers reach; a meeting blocks the stream's own thread, never one of the pool.
#pragma once

#include <memory>

#include "kernel.h"

namespace cd {

// Which part of the data that a rank brings another rank gets. Part r of n elements is [n·r / ranks, n·(r + 1) / ranks).
enum class Share : int32_t {
  Whole,    // all of it
  Scatter,  // the part of whoever gets it
  Gather,   // the part of whoever brings it
  Root,     // all of it, of one rank alone
};

// What every rank must say alike when they meet. Sent to other processes as it stands.
struct Meeting {
  char operation[24] = {};
  Share share;
  int32_t dtype;
  int32_t root;
  int32_t reserved = 0;
  int64_t elements;  // of the whole data, also where a part is brought

  Meeting(const char* name, Share share, DType dtype, int64_t elements, int root = -1)
      : share(share), dtype(static_cast<int32_t>(dtype)), root(root), elements(elements) {
    __builtin_strncpy(operation, name, sizeof operation - 1);
  }
  bool operator==(const Meeting& other) const { return __builtin_memcmp(this, &other, sizeof *this) == 0; }
};

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Waits for all ranks. → for each rank, where the part of its data begins that this rank gets (null where it gets none); valid
  // until `finish`. `mine` is the whole data of this rank, of which the parts that others get must stay as they are until then.
  // Throws Error when a rank has left, has come with another meeting, or does not come in time.
  virtual const char* const* meet(const Meeting& meeting, const void* mine) = 0;
  // Waits until no rank needs the data of this one any more.
  virtual void finish() = 0;

  // --- for accelerators, whose own library brings the ranks together once they know each other ---
  // What the library keeps for this rank of the group.
  class Link {
   public:
    virtual ~Link() = default;
    virtual void abort() = 0;           // ends a collective under way; any thread
    virtual std::string problem() = 0;  // why what is under way will not be right; empty: nothing is known
  };
  virtual Link* link() const = 0;  // null: none yet
  virtual void attach(std::shared_ptr<Link> link) = 0;
  // Says what this rank comes for next and does not wait. Throws Error when the group has failed, and when another rank of this
  // process has said something else.
  virtual void announce(const Meeting& meeting) = 0;
  virtual std::string failure() const = 0;  // why the group has ended; empty: it has not
  // Throws Error when others have been waited for too long, and warns before.
  virtual void expectPatience(const char* doing, double seconds) = 0;

  int64_t partBegin(int64_t elements, int rank) const { return elements * rank / size(); }
};

}  // namespace cd
