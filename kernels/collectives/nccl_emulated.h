// NCCL on the host, for GPUs that are emulated in one process. As with NCCL, joining goes on when the call has returned; a
// collective waits for the other ranks until its own communicator is aborted, and only for that reason ends without them.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "nccl.h"
#include "sum.h"

namespace cd::cuda::nccl {

struct EmulatedGroup {
  explicit EmulatedGroup(int size) : size(size), from(static_cast<size_t>(size)), steps(static_cast<size_t>(size), 0) {}
  const int size;
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<const char*> from;  // what every rank brings
  std::vector<uint64_t> steps;    // how often it has come to a barrier
  int joined = 0;
};

class EmulatedCommunicator {
 public:
  EmulatedCommunicator(std::shared_ptr<EmulatedGroup> group, int rank)
      : group_(std::move(group)), rank_(static_cast<size_t>(rank)) {
    std::lock_guard lock(group_->mutex);
    ++group_->joined;
  }
  static EmulatedCommunicator& of(Communicator communicator) { return *static_cast<EmulatedCommunicator*>(communicator); }

  int size() const { return group_->size; }
  int rank() const { return static_cast<int>(rank_); }
  bool joined() {
    std::lock_guard lock(group_->mutex);
    return group_->joined == group_->size;
  }

  // body(what every rank brings), between two barriers; nothing when this rank is aborted.
  void run(const void* from, const std::function<void(const char* const*)>& body) {
    std::unique_lock lock(group_->mutex);
    group_->from[rank_] = static_cast<const char*>(from);
    if (!barrier(lock)) return;
    lock.unlock();
    body(group_->from.data());
    lock.lock();
    barrier(lock);
  }
  // Memory stays until the program ends: a call of another thread may still be inside.
  void abort() {
    {
      std::lock_guard lock(group_->mutex);
      aborted_ = true;
    }
    group_->changed.notify_all();
  }

 private:
  bool barrier(std::unique_lock<std::mutex>& lock) {
    const uint64_t step = ++group_->steps[rank_];
    group_->changed.notify_all();
    group_->changed.wait(lock, [&] {
      if (aborted_) return true;
      for (const uint64_t other : group_->steps)
        if (other < step) return false;
      return true;
    });
    return !aborted_;
  }

  const std::shared_ptr<EmulatedGroup> group_;
  const size_t rank_;
  bool aborted_ = false;
};

inline Interface emulatedInterface() {
  static std::mutex mutex;
  static std::map<int64_t, std::weak_ptr<EmulatedGroup>> groups;
  static int64_t ids = 0;
  using Comm = EmulatedCommunicator;
  static const auto bytesOf = [](int type) -> int64_t { return type == kUint8 ? 1 : type == kBFloat16 ? 2 : 4; };
  static const auto dtypeOf = [](int type) { return type == kBFloat16 ? DType::BF16 : type == kInt32 ? DType::I32 : DType::F32; };
  Interface api;
  api.getUniqueId = [](UniqueId* id) {
    std::lock_guard lock(mutex);
    ++ids;
    std::memcpy(id->bytes, &ids, sizeof ids);
    return kSuccess;
  };
  api.initRank = [](Communicator* communicator, int ranks, UniqueId id, int rank, Config*) {
    int64_t number = 0;
    std::memcpy(&number, id.bytes, sizeof number);
    std::lock_guard lock(mutex);
    std::shared_ptr<EmulatedGroup> group = groups[number].lock();
    if (!group) groups[number] = group = std::make_shared<EmulatedGroup>(ranks);
    *communicator = new Comm(group, rank);
    return kInProgress;
  };
  api.asyncError = [](Communicator communicator, int* status) {
    *status = Comm::of(communicator).joined() ? kSuccess : kInProgress;
    return kSuccess;
  };
  api.finalize = [](Communicator) { return kSuccess; };
  api.destroy = [](Communicator communicator) {
    delete static_cast<Comm*>(communicator);
    return kSuccess;
  };
  api.abort = [](Communicator communicator) {
    Comm::of(communicator).abort();
    return kSuccess;
  };
  api.allReduce = [](const void* from, void* to, size_t count, int type, int, Communicator communicator, void*) {
    emulation::onStream([=] {
      Comm& comm = Comm::of(communicator);
      std::vector<char> sum(count * static_cast<size_t>(bytesOf(type)));
      comm.run(from, [&](const char* const* parts) {
        sumParts(dtypeOf(type), parts, comm.size(), sum.data(), static_cast<int64_t>(count));
      });
      placePart(static_cast<char*>(to), sum.data(), static_cast<int64_t>(sum.size()));  // the others have read what was there
    });
    return kSuccess;
  };
  api.allGather = [](const void* from, void* to, size_t count, int type, Communicator communicator, void*) {
    emulation::onStream([=] {
      Comm& comm = Comm::of(communicator);
      const int64_t bytes = static_cast<int64_t>(count) * bytesOf(type);
      comm.run(from, [&](const char* const* parts) {
        for (int rank = 0; rank < comm.size(); ++rank) placePart(static_cast<char*>(to) + rank * bytes, parts[rank], bytes);
      });
    });
    return kSuccess;
  };
  api.reduceScatter = [](const void* from, void* to, size_t count, int type, int, Communicator communicator, void*) {
    emulation::onStream([=] {
      Comm& comm = Comm::of(communicator);
      comm.run(from, [&](const char* const* wholes) {
        std::vector<const char*> parts(wholes, wholes + comm.size());
        for (const char*& part : parts) part += comm.rank() * static_cast<int64_t>(count) * bytesOf(type);
        sumParts(dtypeOf(type), parts.data(), comm.size(), to, static_cast<int64_t>(count));
      });
    });
    return kSuccess;
  };
  api.broadcast = [](const void* from, void* to, size_t count, int type, int root, Communicator communicator, void*) {
    emulation::onStream([=] {
      Comm& comm = Comm::of(communicator);
      comm.run(from, [&](const char* const* wholes) {
        if (comm.rank() != root) placePart(static_cast<char*>(to), wholes[root], static_cast<int64_t>(count) * bytesOf(type));
      });
    });
    return kSuccess;
  };
  api.errorString = [](int) { return "an error of the emulation"; };
  return api;
}

}  // namespace cd::cuda::nccl
