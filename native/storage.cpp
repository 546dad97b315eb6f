#include "storage.h"

#include <algorithm>

namespace cd {

namespace {
constexpr int64_t kSmall = 1 << 16;
constexpr int64_t kSegment = 1 << 20;  // of a pool, at least

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
  const auto [address, blockBytes] = pool_ ? fromPool(size) : fromAll(size);
  statistics_.liveTensors += 1;
  statistics_.peakBytes = std::max(statistics_.peakBytes, statistics_.liveBytes);
  auto storage = std::make_shared<Storage>(address, bytes, blockBytes);
  storage->pool = pool_;
  return storage;
}

// A cached block may be up to a quarter too large: less reuse would cost memory between blocks, more inside them.
std::pair<void*, int64_t> Allocator::fromAll(int64_t size) {
  if (statistics_.liveBytes + size > limit_)
    throw Error("Device memory: Expected room for " + mebibytes(size) + " but " + mebibytes(statistics_.liveBytes) +
                " of the limit of " + mebibytes(limit_) +
                " are in use; raise the limit, or use shorter sequences, smaller batches or activation checkpointing");
  std::pair<void*, int64_t> block;
  const auto cached = free_.lower_bound(size);
  if (cached == free_.end() || cached->first > size + size / 4) block = {reserve(size), size};
  else {
    block = {cached->second, cached->first};
    free_.erase(cached);
  }
  statistics_.liveBytes += block.second;
  return block;
}

// A pool's segments count as live whether it uses them or not.
std::pair<void*, int64_t> Allocator::fromPool(int64_t size) {
  void* block = pool_->take(size);
  if (!block) {
    const auto [segment, bytes] = fromAll(std::max(size, kSegment));
    pool_->add(segment, bytes);
    block = pool_->take(size);
  }
  return {block, size};
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

void* Allocator::take(int64_t size) { return accelerator_ ? accelerator_->allocate(size) : host_.take(size); }

void Allocator::release(const std::shared_ptr<Storage>& storage) {
  statistics_.liveTensors -= 1;
  storage->released = true;
  if (storage->pool) {
    storage->pool->give(storage->block, storage->blockBytes);
    if (storage->pool->recordings == 0) giveBackIdle(*storage->pool);
    return;
  }
  free_.emplace(storage->blockBytes, storage->block);
  statistics_.liveBytes -= storage->blockBytes;
}

void Allocator::leave(Pool& pool) {
  if (--pool.recordings == 0) giveBackIdle(pool);
}

void Allocator::giveBackIdle(Pool& pool) {
  for (const auto& [segment, bytes] : pool.takeIdle()) {
    free_.emplace(bytes, segment);
    statistics_.liveBytes -= bytes;
  }
}

void Allocator::trim() {
  for (const auto& [size, address] : free_) {
    if (accelerator_) accelerator_->free(address);
    else host_.give(address, size);
    statistics_.reservedBytes -= size;
  }
  free_.clear();
  host_.trim();
}

}  // namespace cd
