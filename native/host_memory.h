// The host's memory for tensors, on large pages where the system has them: a decoded token reads every weight once, and looking
// up pages of 4 KiB would cost it 5 to 8 % of its time.
#pragma once

#include <cstdint>

#include "pool.h"

namespace cd {

// Memory of its own from the system, which starts at a large page; null when there is none. std::free gives it back.
void* allocateOnLargePages(int64_t bytes);

class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(const HostMemory&) = delete;
  ~HostMemory() { trim(); }

  void* take(int64_t bytes);  // a multiple of 256, or null
  void give(void* block, int64_t bytes);
  void trim();  // gives segments that nobody uses back to the system

 private:
  Pool small_;  // what is smaller than several large pages shares segments
};

}  // namespace cd
