// Barriers in shared memory that count arrivals and the bytes of asynchronous copies (mbarrier), as the emulation keeps them.
//
// A copy poisons its target when it is issued and arrives as late as it can: when no thread can go on otherwise. So what is read
// without waiting is NaN, and so is what is written over while somebody still reads it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda_order.h"

namespace cd::emulation {

// What a barrier in shared memory holds: how many of its phases have ended, which is what threads wait for, and its number.
struct BarrierWords {
  uint32_t phase, number;
};

class Transactions {
 public:
  void clear() { barriers_.clear(), copies_.clear(); }
  void init(BarrierWords* words, int arrivals);
  // One arrival, which announces that copies will bring `bytes` in this phase.
  void arrive(BarrierWords* words, int64_t bytes);
  // A copy that is under way; `perform` lets it arrive.
  void copy(BarrierWords* words, int64_t bytes, std::function<void()> perform);
  // Lets one copy arrive. False: none is under way.
  bool deliver(Order& order);
  // What barriers still wait for, for a message; empty if nothing.
  std::string unfinished() const;

 private:
  struct Barrier {
    BarrierWords* words;
    int arrivals, missing;               // a phase's arrivals; those that have not come
    int64_t announced = 0, arrived = 0;  // bytes
  };
  struct Copy {
    size_t barrier;
    int64_t bytes;
    std::function<void()> perform;
  };
  size_t find(const BarrierWords* words) const;
  void endPhase(Barrier& barrier);

  std::vector<Barrier> barriers_;
  std::vector<Copy> copies_;
};

}  // namespace cd::emulation
