// Where emulated threads meet: what lanes bring to warp operations, and the barriers of a block.
#pragma once

#include "cuda_fibers.h"

namespace cd::emulation {

// What a lane has brought to a warp operation.
struct Lane {
  uint32_t mask = 0, generation = 0;
  void* arguments = nullptr;
};
struct Warp {
  uint32_t waiting = 0, returned = 0;  // lanes
};
struct Barrier {
  int arrived = 0, votes = 0, lastVotes = 0, count = 0;
  uint32_t generation = 0;
  Place where;  // those who wait

  // Whether all have come.
  bool arrive() {
    if (++arrived < count) return false;
    lastVotes = votes;
    arrived = votes = 0;
    where = {};
    ++generation;
    return true;
  }
};

}  // namespace cd::emulation
