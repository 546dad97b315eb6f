// Pinned memory of the host between ordinary memory and the GPU, so that copies run beside everything else.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda_runtime_host.h"

namespace cd::cuda {

// Uploads: a ring of segments. Data is copied into the present segment and goes from there; a segment is used again when what
// left from it has arrived.
class UploadRing {
 public:
  static constexpr int64_t kSegment = 1 << 20;
  static constexpr int kSegments = 32;

  // Takes as much as fits into the present segment. The caller copies `staged` on `stream` before it calls again.
  cudaError_t stage(cudaStream_t stream, const void* source, int64_t bytes, const void** staged, int64_t* taken) {
    if (!memory_)
      if (const cudaError_t error = open()) return error;
    if (used_ == kSegment) {
      if (const cudaError_t error = cudaEventRecord(left_[segment_], stream)) return error;
      segment_ = (segment_ + 1) % kSegments;
      used_ = 0;
      // An event that was never recorded has passed.
      if (const cudaError_t error = cudaEventSynchronize(left_[segment_])) return error;
    }
    char* const target = memory_ + segment_ * kSegment + used_;
    *taken = bytes < kSegment - used_ ? bytes : kSegment - used_;
    std::memcpy(target, source, *taken);
    used_ = (used_ + *taken + 15) / 16 * 16;
    *staged = target;
    return cudaSuccess;
  }

  void close() {
    for (cudaEvent_t event : left_) cudaEventDestroy(event);
    if (memory_) cudaFreeHost(memory_);
  }

 private:
  cudaError_t open() {
    if (const cudaError_t error = cudaMallocHost(reinterpret_cast<void**>(&memory_), kSegment * kSegments)) return error;
    left_.resize(kSegments);
    for (cudaEvent_t& event : left_)
      if (const cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming)) return error;
    return cudaSuccess;
  }

  char* memory_ = nullptr;
  std::vector<cudaEvent_t> left_;
  int segment_ = 0;
  int64_t used_ = 0;
};

// Read-backs: blocks of powers of two, used again when the host has taken what arrived in them.
class ReadBackPool {
 public:
  static constexpr int64_t kSmallest = 1 << 12, kLargest = 1 << 23;
  struct Block {
    void* address;
    int size;  // kSmallest << size
  };

  cudaError_t take(int64_t bytes, Block* block) {
    int size = 0;
    while (kSmallest << size < bytes) ++size;
    std::vector<void*>& spare = spare_[size];
    block->size = size;
    if (spare.empty()) return cudaMallocHost(&block->address, kSmallest << size);
    block->address = spare.back();
    spare.pop_back();
    return cudaSuccess;
  }
  void give(const Block& block) { spare_[block.size].push_back(block.address); }

  void close() {
    for (const std::vector<void*>& spare : spare_)
      for (void* address : spare) cudaFreeHost(address);
  }

 private:
  std::vector<void*> spare_[12];
};

}  // namespace cd::cuda
