// Where a back end's kernels find their tensors: the host's memory, or an accelerator's. Every block lies between guards (or
// exactly fits, where AddressSanitizer watches), so writes beyond a tensor are seen.
#pragma once

#include <memory>
#include <vector>

#include "../native/accelerator.h"

namespace cd::check {

class Memory {
 public:
  explicit Memory(Accelerator* accelerator) : accelerator_(accelerator) {}  // null: the host's
  ~Memory();
  Memory(const Memory&) = delete;

  void* place(const std::vector<uint8_t>& contents);  // aligned to 256 bytes
  std::vector<uint8_t> read(const void* address, size_t bytes);
  bool guardsIntact();
  void clear();

 private:
  struct Block {
    uint8_t* data;
    size_t bytes;
  };
  void copyIn(void* target, const void* source, size_t bytes);

  Accelerator* accelerator_;
  std::vector<Block> blocks_;
};

}  // namespace cd::check
