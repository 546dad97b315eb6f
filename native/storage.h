// Refcounted device memory and the stream-ordered caching allocator that hands it out.
//
// A released block goes back to the free list while operations that use it may still be queued: the next owner's
// operations come later on the same stream, so they run after. That is the CUDA caching allocator's rule, and it makes
// peak memory a property of the program and not of timing.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "accelerator.h"
#include "host_memory.h"
#include "pool.h"

namespace cd {

// Why data is not there: set on the stream's thread when an operation fails, handed on to all that depends on it.
using Poison = std::shared_ptr<const std::string>;

struct Storage {
  void* block;    // what the allocator knows it by
  void* address;  // what operations know it by: opaque on cpu-chaos, where only Device::resolve makes a pointer of it
  int64_t bytes;  // as asked for
  int64_t blockBytes;
  Poison poison;               // touched by the stream's thread only
  std::shared_ptr<Pool> pool;  // where the block goes back to; null: to everybody
  bool released = false;       // its block may have another owner
  int64_t collective = 0;      // the last one that uses the block, by number; 0: none

  Storage(void* block, int64_t bytes, int64_t blockBytes) : block(block), address(block), bytes(bytes), blockBytes(blockBytes) {}
};

struct MemoryStatistics {
  int64_t liveTensors = 0;
  int64_t liveBytes = 0;
  int64_t peakBytes = 0;
  int64_t reservedBytes = 0;
};

class Allocator {
 public:
  // accelerator: whose memory it is; null: the host's. limit: bytes that may be live at once. synchronise: waits until the
  // stream is idle, so that cached blocks can go.
  Allocator(Accelerator* accelerator, int64_t limit, std::function<void()> synchronise)
      : accelerator_(accelerator), limit_(limit), synchronise_(std::move(synchronise)) {}
  ~Allocator() { trim(); }

  std::shared_ptr<Storage> allocate(int64_t bytes);  // throws Error with what is missing and the remedy
  void release(const std::shared_ptr<Storage>& storage);
  void usePool(std::shared_ptr<Pool> pool) { pool_ = std::move(pool); }  // for what is allocated from here on; null: none
  void leave(Pool& pool);  // a recording of it has gone: with the last one what is not in use becomes everybody's
  void trim();             // gives cached blocks back to the system; the stream must be idle
  void failAfter(int64_t allocations) { failAfter_ = allocations; }  // the test device's switch; −1: never
  const MemoryStatistics& statistics() const { return statistics_; }

 private:
  std::pair<void*, int64_t> fromAll(int64_t size);  // address and size of a block
  std::pair<void*, int64_t> fromPool(int64_t size);
  void giveBackIdle(Pool& pool);
  void* reserve(int64_t size);
  void* take(int64_t size);

  Accelerator* accelerator_;
  HostMemory host_;
  int64_t limit_;
  std::function<void()> synchronise_;
  std::multimap<int64_t, void*> free_;
  std::shared_ptr<Pool> pool_;
  MemoryStatistics statistics_;
  int64_t failAfter_ = -1;
};

}  // namespace cd
