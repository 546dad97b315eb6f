// Collectives of GPUs: NCCL's.
#include "../../native/collective.h"
#include "nccl.h"
#if defined(CD_EMULATE)
#include "nccl_emulated.h"
#else
#include "../common/cuda_library.h"
#endif

#include <map>

namespace cd::cuda {

namespace nccl {
const Interface& Interface::get() {
  static const Interface api = [] {
#if defined(CD_EMULATE)
    return emulatedInterface();
#else
    Library& library = ncclLibrary();
    Interface found;
    const auto find = [&]<class Function>(Function*& target, const char* name) { target = library.symbol<Function>(name); };
    find(found.getUniqueId, "ncclGetUniqueId");
    find(found.initRank, "ncclCommInitRank");
    find(found.allReduce, "ncclAllReduce");
    find(found.allGather, "ncclAllGather");
    find(found.reduceScatter, "ncclReduceScatter");
    find(found.broadcast, "ncclBroadcast");
    find(found.errorString, "ncclGetErrorString");
    if (!library.problem().empty()) throw Error("Several GPUs need NCCL: " + library.problem());
    return found;
#endif
  }();
  return api;
}
}  // namespace nccl

namespace {
using nccl::Interface;

void check(int status, const char* doing) {
  if (status != nccl::kSuccess) throw Error(std::string("NCCL: ") + doing + " failed: " + Interface::get().errorString(status));
}

Collective& groupOf(const Call& call) { return call.collective(static_cast<int>(call.attribute(0))); }

nccl::Communicator communicatorOf(Collective& group) {
  // Of this stream, whose thread is the only one that comes here for it.
  thread_local std::map<Collective*, nccl::Communicator> communicators;
  const auto [known, isNew] = communicators.try_emplace(&group, nullptr);
  if (isNew) {
    const Interface& api = Interface::get();
    nccl::UniqueId id{};
    if (group.rank() == 0) check(api.getUniqueId(&id), "starting");
    const char* const* ids = group.meet({"joining of NCCL", Share::Root, DType::U8, sizeof id, 0}, &id);
    __builtin_memcpy(&id, ids[0], sizeof id);
    group.finish();
    check(api.initRank(&known->second, group.size(), id, group.rank()), "joining the ranks");
  }
  return known->second;
}

int typeOf(DType dtype) {
  constexpr int kTypes[] = {nccl::kFloat32, nccl::kBFloat16, nccl::kInt32, nccl::kUint8};
  return kTypes[static_cast<int>(dtype)];
}
size_t countOf(const Tensor& tensor) { return static_cast<size_t>(tensor.elements()); }
}  // namespace

void all_reduce(const Call& call) {
  const Tensor& x = call[0];
  check(Interface::get().allReduce(x.data, x.data, countOf(x), typeOf(x.dtype), nccl::kSum, communicatorOf(groupOf(call)),
                                   call.stream),
        "all_reduce");
}

void all_gather(const Call& call) {
  const Tensor &x = call[0], &out = call[1];
  check(Interface::get().allGather(x.data, out.data, countOf(x), typeOf(x.dtype), communicatorOf(groupOf(call)), call.stream),
        "all_gather");
}

void reduce_scatter(const Call& call) {
  const Tensor &x = call[0], &out = call[1];
  check(Interface::get().reduceScatter(x.data, out.data, countOf(out), typeOf(x.dtype), nccl::kSum, communicatorOf(groupOf(call)),
                                       call.stream),
        "reduce_scatter");
}

void broadcast(const Call& call) {
  const Tensor& x = call[0];
  check(Interface::get().broadcast(x.data, x.data, countOf(x), typeOf(x.dtype), static_cast<int>(call.attribute(1)),
                                   communicatorOf(groupOf(call)), call.stream),
        "broadcast");
}

}  // namespace cd::cuda
