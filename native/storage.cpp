#include "storage.h"

#include <algorithm>
#include <cstdlib>

namespace cd {

namespace {
constexpr int64_t kSmall = 1 << 16;

int64_t roundedSize(int64_t bytes) {
  const int64_t unit = bytes < kSmall ? 256 : kSmall;
  return std::max<int64_t>(unit, (bytes + unit - 1) / unit * unit);
}

std::string mebibytes(int64_t bytes) { return std::to_string((bytes + (1 << 19)) >> 20) + " MiB"; }
}  // namespace

std::shared_ptr<Storage> Allocator::allocate(int64_t bytes) {
  if (failAfter_ == 0) throw Error("Device memory: allocation of " + std::to_string(bytes) + " bytes failed on demand");
  if (failAfter_ > 0) --failAfter_;
  const int64_t size = roundedSize(bytes);
  if (statistics_.liveBytes + size > limit_)
    throw Error("Device memory: Expected room for " + mebibytes(size) + " but " + mebibytes(statistics_.liveBytes) +
                " of the limit of " + mebibytes(limit_) +
                " are in use; raise the limit, or use shorter sequences, smaller batches or activation checkpointing");
  // A cached block may be up to a quarter too large: less reuse would cost memory between blocks, more inside them.
  const auto cached = free_.lower_bound(size);
  void* address;
  int64_t blockBytes = size;
  if (cached != free_.end() && cached->first <= size + size / 4) {
    blockBytes = cached->first;
    address = cached->second;
    free_.erase(cached);
  } else {
    address = reserve(size);
  }
  statistics_.liveBytes += blockBytes;
  statistics_.liveTensors += 1;
  statistics_.peakBytes = std::max(statistics_.peakBytes, statistics_.liveBytes);
  return std::make_shared<Storage>(address, bytes, blockBytes);
}

void* Allocator::reserve(int64_t size) {
  void* address = statistics_.reservedBytes + size > limit_ ? nullptr : take(size);
  if (!address) {
    synchronise_();
    trim();
    address = take(size);
  }
  if (!address) {
    std::string where = "the system has no " + mebibytes(size) + " left (";
    if (accelerator_) {
      const DeviceMemory memory = accelerator_->memory();
      where = "Expected room for " + mebibytes(size) + " but " + mebibytes(memory.free) + " of " + mebibytes(memory.total) +
              " are free (";
    }
    throw Error("Device memory: " + where + std::to_string(statistics_.liveTensors) + " tensors of " +
                mebibytes(statistics_.liveBytes) +
                " are in use); use shorter sequences, smaller batches or activation checkpointing");
  }
  statistics_.reservedBytes += size;
  return address;
}

void* Allocator::take(int64_t size) { return accelerator_ ? accelerator_->allocate(size) : std::aligned_alloc(256, size); }

void Allocator::release(const std::shared_ptr<Storage>& storage) {
  free_.emplace(storage->blockBytes, storage->block);
  statistics_.liveBytes -= storage->blockBytes;
  statistics_.liveTensors -= 1;
}

void Allocator::trim() {
  for (const auto& [size, address] : free_) {
    if (accelerator_) accelerator_->free(address);
    else std::free(address);
    statistics_.reservedBytes -= size;
  }
  free_.clear();
}

}  // namespace cd
