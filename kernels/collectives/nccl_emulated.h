// NCCL on the host, for GPUs that are emulated in one process: the calls wait for the other ranks, as the kernels of NCCL do.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "nccl.h"
#include "sum.h"

namespace cd::cuda::nccl {

class EmulatedGroup {
 public:
  explicit EmulatedGroup(int size) : size_(size), from_(static_cast<size_t>(size)) {}
  int size() const { return size_; }

  // What every rank brings; valid until `finish`.
  const char* const* meet(int rank, const void* from) {
    std::unique_lock lock(mutex_);
    from_[static_cast<size_t>(rank)] = static_cast<const char*>(from);
    barrier(lock);
    return from_.data();
  }
  void finish() {
    std::unique_lock lock(mutex_);
    barrier(lock);
  }

 private:
  void barrier(std::unique_lock<std::mutex>& lock) {
    const uint64_t round = round_;
    if (++waiting_ == size_) {
      waiting_ = 0;
      ++round_;
      arrived_.notify_all();
    } else {
      arrived_.wait(lock, [&] { return round_ != round; });
    }
  }

  const int size_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<const char*> from_;
  int waiting_ = 0;
  uint64_t round_ = 0;
};

struct EmulatedCommunicator {
  std::shared_ptr<EmulatedGroup> group;
  int rank;

  static EmulatedCommunicator& of(Communicator communicator) { return *static_cast<EmulatedCommunicator*>(communicator); }
  static int64_t bytesOf(int type) { return type == kUint8 ? 1 : type == kBFloat16 ? 2 : 4; }
  static DType dtypeOf(int type) { return type == kBFloat16 ? DType::BF16 : type == kInt32 ? DType::I32 : DType::F32; }
};

inline Interface emulatedInterface() {
  static std::mutex mutex;
  static std::map<int64_t, std::weak_ptr<EmulatedGroup>> groups;
  static int64_t ids = 0;
  using Comm = EmulatedCommunicator;
  Interface api;
  api.getUniqueId = [](UniqueId* id) {
    std::lock_guard lock(mutex);
    ++ids;
    std::memcpy(id->bytes, &ids, sizeof ids);
    return kSuccess;
  };
  api.initRank = [](Communicator* communicator, int ranks, UniqueId id, int rank) {
    int64_t number = 0;
    std::memcpy(&number, id.bytes, sizeof number);
    std::lock_guard lock(mutex);
    std::shared_ptr<EmulatedGroup> group = groups[number].lock();
    if (!group) groups[number] = group = std::make_shared<EmulatedGroup>(ranks);
    *communicator = new Comm{group, rank};
    return kSuccess;
  };
  api.allReduce = [](const void* from, void* to, size_t count, int type, int, Communicator communicator, void*) {
    Comm& comm = Comm::of(communicator);
    const char* const* parts = comm.group->meet(comm.rank, from);
    // In place: what the others still read may not be overwritten.
    std::vector<char> sum(count * static_cast<size_t>(Comm::bytesOf(type)));
    sumParts(Comm::dtypeOf(type), parts, comm.group->size(), sum.data(), static_cast<int64_t>(count));
    comm.group->finish();
    placePart(static_cast<char*>(to), sum.data(), static_cast<int64_t>(sum.size()));
    return kSuccess;
  };
  api.allGather = [](const void* from, void* to, size_t count, int type, Communicator communicator, void*) {
    Comm& comm = Comm::of(communicator);
    const char* const* parts = comm.group->meet(comm.rank, from);
    const int64_t bytes = static_cast<int64_t>(count) * Comm::bytesOf(type);
    for (int rank = 0; rank < comm.group->size(); ++rank) placePart(static_cast<char*>(to) + rank * bytes, parts[rank], bytes);
    comm.group->finish();
    return kSuccess;
  };
  api.reduceScatter = [](const void* from, void* to, size_t count, int type, int, Communicator communicator, void*) {
    Comm& comm = Comm::of(communicator);
    const char* const* wholes = comm.group->meet(comm.rank, from);
    std::vector<const char*> parts;
    for (int rank = 0; rank < comm.group->size(); ++rank)
      parts.push_back(wholes[rank] + comm.rank * static_cast<int64_t>(count) * Comm::bytesOf(type));
    sumParts(Comm::dtypeOf(type), parts.data(), comm.group->size(), to, static_cast<int64_t>(count));
    comm.group->finish();
    return kSuccess;
  };
  api.broadcast = [](const void* from, void* to, size_t count, int type, int root, Communicator communicator, void*) {
    Comm& comm = Comm::of(communicator);
    const char* const* wholes = comm.group->meet(comm.rank, from);
    if (comm.rank != root) placePart(static_cast<char*>(to), wholes[root], static_cast<int64_t>(count) * Comm::bytesOf(type));
    comm.group->finish();
    return kSuccess;
  };
  api.errorString = [](int) { return "an error of the emulation"; };
  return api;
}

}  // namespace cd::cuda::nccl
