// Where the kernels of an accelerator report bad data: a place in the device's memory for each launched command, and a count
// that every fence brings to the host. While it is zero nothing else has to be looked at.
#pragma once

#include <vector>

#include "accelerator.h"

namespace cd {

class FailureLog {
 public:
  static constexpr int64_t kPlaces = 1024;  // commands that may be launched and not retired at once

  explicit FailureLog(Accelerator* accelerator) : accelerator_(accelerator) {}
  ~FailureLog() {
    if (memory_) accelerator_->free(memory_);
  }

  void open();                           // on the stream's thread, before anything else
  Failure* place(int64_t number) const;  // of the command with that running number
  int32_t* count() const { return static_cast<int32_t*>(memory_); }
  void copyCount() { accelerator_->copyOut(&seen_, memory_, sizeof seen_); }  // goes before every fence
  bool any() const { return seen_ != 0; }                                     // as of the last fence that has passed
  std::vector<Failure> take();  // waits for the stream, reads every place and clears them

 private:
  Accelerator* accelerator_;
  void* memory_ = nullptr;
  int32_t seen_ = 0;
};

}  // namespace cd
