// What a collective kernel sees of its group: who it is, and a barrier at which every rank shows an address. On the CPU
// the ranks are streams of one process; a barrier blocks the stream's own thread, never a thread of the pool.
#pragma once

#include "kernel.h"

namespace cd {

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  // Waits for all ranks, then returns the address each of them brought. Throws Error when a rank has gone.
  virtual void* const* exchange(void* mine) = 0;
  virtual void barrier() = 0;
};

}  // namespace cd
