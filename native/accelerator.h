// What a back end with memory and a stream of its own offers to the device that opens it. A CPU device has none: its
// kernels work in the host's memory, on the thread that calls them.
#pragma once

#include "kernel.h"

namespace cd {

struct DeviceMemory {
  int64_t free = 0, total = 0;
};

// One open accelerator. `allocate`, `free`, `memory` and `description` may be called on any thread, the others only on the
// thread that called `attach`. Whatever fails throws Error in one line.
class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual std::string description() const = 0;  // of the hardware, for people
  virtual DeviceMemory memory() const = 0;
  virtual int index() const = 0;                    // among those of the machine
  virtual bool reaches(int accelerator) const = 0;  // whether it reads another one's memory without the host between; any thread

  virtual void attach() = 0;                  // makes the calling thread the one that launches
  virtual void* stream() const = 0;           // as kernels know it (Call::stream)
  virtual void* allocate(int64_t bytes) = 0;  // null when there is no room; aligned to 256 bytes
  virtual void free(void* memory) = 0;        // the stream must be idle

  // In stream order. copyIn has taken the data when it returns; copyOut has delivered it when a later fence has passed.
  virtual void copyIn(void* target, const void* source, int64_t bytes) = 0;
  virtual void copyOut(void* target, const void* source, int64_t bytes) = 0;
  virtual void fill(void* target, uint8_t value, int64_t bytes) = 0;

  virtual uint64_t fence() = 0;             // marks this point of the stream; numbers rise by one from 1
  virtual bool passed(uint64_t fence) = 0;  // whether all before it is done; does not wait. Fences are asked for in order
  virtual void synchronise() = 0;           // waits for all that was launched; every fence has passed then

  // Between the first and one of the others, what the attached thread launches, fills and copies on the device is kept and not
  // run; waiting and taking memory there are errors. A graph is launched in stream order as often as wanted, and freed when the
  // stream is past it.
  virtual void beginCapture() = 0;
  virtual void* endCapture() = 0;  // → the graph
  virtual void abandonCapture() = 0;
  virtual void launchGraph(void* graph) = 0;
  virtual void freeGraph(void* graph) = 0;

  // A second stream, for collectives. It and the following four may be used by another thread that has called `attach`.
  virtual void* collectiveStream() = 0;
  virtual void* point(void* stream) = 0;               // marks this point of a stream; to be dropped
  virtual void follow(void* stream, void* point) = 0;  // what is launched on the stream from here on runs behind the point
  virtual bool reached(void* point) = 0;               // whether all before it is done; does not wait
  virtual void drop(void* point) = 0;

  // A point of the stream to measure from or to; seconds between two that have passed, which are spent by asking.
  virtual void* mark() = 0;
  virtual double secondsBetween(void* start, void* end) = 0;

  // Empty while the device works. After an illegal access or the like it says so, for good: no call will succeed again.
  virtual std::string lost() const = 0;
  virtual double measureRate(int rate) = 0;  // the numbers of src/native.ts: FLOP/s or bytes/s; 0 where there is no such thing
};

}  // namespace cd
