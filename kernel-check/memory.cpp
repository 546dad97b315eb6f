#include "memory.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace cd::check {

namespace {
// AddressSanitizer, which comes with a plug-in that is built for it, watches better when nothing lies between.
const size_t kGuard = dlsym(RTLD_DEFAULT, "__asan_init") ? 0 : 256;
constexpr uint8_t kGuardByte = 0xc5;
constexpr std::align_val_t kAlignment{256};
}  // namespace

Memory::~Memory() { clear(); }

void Memory::copyIn(void* target, const void* source, size_t bytes) {
  if (bytes == 0) return;
  if (accelerator_) accelerator_->copyIn(target, source, static_cast<int64_t>(bytes));
  else std::memcpy(target, source, bytes);
}

void* Memory::place(const std::vector<uint8_t>& contents) {
  const size_t bytes = contents.size(), total = bytes + 2 * kGuard;
  void* memory =
      accelerator_ ? accelerator_->allocate(static_cast<int64_t>(std::max<size_t>(total, 1))) : ::operator new(total, kAlignment);
  if (!memory) throw Error("no memory is left for " + std::to_string(bytes) + " bytes");
  uint8_t* data = static_cast<uint8_t*>(memory) + kGuard;
  blocks_.push_back({data, bytes});
  const std::vector<uint8_t> guard(kGuard, kGuardByte);
  copyIn(memory, guard.data(), kGuard);
  copyIn(data, contents.data(), bytes);
  copyIn(data + bytes, guard.data(), kGuard);
  return data;
}

std::vector<uint8_t> Memory::read(const void* address, size_t bytes) {
  std::vector<uint8_t> contents(bytes);
  if (bytes == 0) return contents;
  if (accelerator_) {
    accelerator_->copyOut(contents.data(), address, static_cast<int64_t>(bytes));
    accelerator_->synchronise();
  } else {
    std::memcpy(contents.data(), address, bytes);
  }
  return contents;
}

bool Memory::guardsIntact() {
  const std::vector<uint8_t> guard(kGuard, kGuardByte);
  for (const Block& block : blocks_)
    if (read(block.data - kGuard, kGuard) != guard || read(block.data + block.bytes, kGuard) != guard) return false;
  return true;
}

void Memory::clear() {
  if (accelerator_) accelerator_->synchronise();
  for (const Block& block : blocks_) {
    if (accelerator_) accelerator_->free(block.data - kGuard);
    else ::operator delete(block.data - kGuard, kAlignment);
  }
  blocks_.clear();
}

}  // namespace cd::check
