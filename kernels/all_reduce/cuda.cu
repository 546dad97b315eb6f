// The sum over ranks. One rank has it already. Several GPUs sum through NCCL, found when it is needed; in emulation the ranks are
// streams of one process with the host's memory, so each sums a slice, as on the CPU. The few declarations of NCCL's C interface
// that it takes are here, so that building needs no header of it.
#include "../common/cuda.h"
#include "../../native/collective.h"
#if !defined(CD_EMULATE)
#include <map>

#include "../common/cuda_library.h"
#endif

namespace cd::cuda {

#if defined(CD_EMULATE)
namespace {
void sum(const Call&, Collective& group, float* x, int64_t count) {
  const int64_t ranks = group.size();
  void* const* addresses = group.exchange(x);
  const int64_t begin = count * group.rank() / ranks, end = count * (group.rank() + 1) / ranks;
  for (int64_t i = begin; i < end; ++i) {
    float total = 0;
    for (int64_t rank = 0; rank < ranks; ++rank) total += static_cast<const float*>(addresses[rank])[i];
    for (int64_t rank = 0; rank < ranks; ++rank) static_cast<float*>(addresses[rank])[i] = total;
  }
  group.barrier();
}
}  // namespace
#else
namespace {
struct UniqueId {
  char bytes[128];
};
using Communicator = void*;
constexpr int kFloat32 = 7, kSum = 0;  // ncclDataType_t, ncclRedOp_t

struct Interface {
  int (*getUniqueId)(UniqueId*);
  int (*initRank)(Communicator*, int ranks, UniqueId, int rank);
  int (*allReduce)(const void* from, void* to, size_t count, int type, int operation, Communicator, cudaStream_t);
  const char* (*errorString)(int);

  Interface() {
    Library& library = nccl();
    getUniqueId = library.symbol<int(UniqueId*)>("ncclGetUniqueId");
    initRank = library.symbol<int(Communicator*, int, UniqueId, int)>("ncclCommInitRank");
    allReduce = library.symbol<int(const void*, void*, size_t, int, int, Communicator, cudaStream_t)>("ncclAllReduce");
    errorString = library.symbol<const char*(int)>("ncclGetErrorString");
    if (!library.problem().empty()) throw Error("Several GPUs need NCCL: " + library.problem());
  }
};

void sum(const Call& call, Collective& group, float* x, int64_t count) {
  static const Interface api;
  const auto check = [](int status, const char* doing) {
    if (status != 0) throw Error(std::string("NCCL: ") + doing + " failed: " + api.errorString(status));
  };
  // Of this stream, whose thread is the only one that comes here for it.
  thread_local std::map<Collective*, Communicator> communicators;
  const auto [known, isNew] = communicators.try_emplace(&group, nullptr);
  if (isNew) {
    UniqueId id{};
    if (group.rank() == 0) check(api.getUniqueId(&id), "starting");
    const UniqueId first = *static_cast<const UniqueId*>(group.exchange(&id)[0]);
    group.barrier();  // rank 0's id lives until all have read it
    check(api.initRank(&known->second, group.size(), first, group.rank()), "joining the ranks");
  }
  check(api.allReduce(x, x, static_cast<size_t>(count), kFloat32, kSum, known->second, static_cast<cudaStream_t>(call.stream)),
        "summing over ranks");
}
}  // namespace
#endif

void all_reduce(const Call& call) {
  Collective& group = call.collective(static_cast<int>(call.attribute(0)));
  if (group.size() > 1) sum(call, group, call[0].as<float>(), call[0].elements());
}

}  // namespace cd::cuda
