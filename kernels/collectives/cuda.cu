// Collectives of GPUs: NCCL's.
#include "nccl_rank.h"
#if defined(CD_EMULATE)
#include "nccl_emulated.h"
#else
#include "../common/cuda_library.h"
#endif

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
    find(found.initRank, "ncclCommInitRankConfig");
    find(found.asyncError, "ncclCommGetAsyncError");
    find(found.finalize, "ncclCommFinalize");
    find(found.destroy, "ncclCommDestroy");
    find(found.abort, "ncclCommAbort");
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
// launch(NCCL's functions, communicator) when all ranks of this process come for the same.
template <class Launch>
void collective(const Call& call, Share share, int root, Launch&& launch) {
  Collective& group = call.collective(static_cast<int>(call.attribute(0)));
  if (!group.link()) group.attach(std::make_unique<nccl::Rank>(group));
  if (!call.captured) group.announce({call.op->name, share, call[0].dtype, call[0].elements(), root});
  static_cast<nccl::Rank*>(group.link())->run(call.op->name, [&](nccl::Communicator communicator) {
    return launch(nccl::Interface::get(), communicator);
  });
}

int typeOf(const Tensor& tensor) {
  constexpr int kTypes[] = {nccl::kFloat32, nccl::kBFloat16, nccl::kInt32, nccl::kUint8};
  return kTypes[static_cast<int>(tensor.dtype)];
}
size_t countOf(const Tensor& tensor) { return static_cast<size_t>(tensor.elements()); }
}  // namespace

void all_reduce(const Call& call) {
  const Tensor& x = call[0];
  collective(call, Share::Whole, -1, [&](const nccl::Interface& api, nccl::Communicator communicator) {
    return api.allReduce(x.data, x.data, countOf(x), typeOf(x), nccl::kSum, communicator, call.stream);
  });
}

void all_gather(const Call& call) {
  const Tensor &x = call[0], &out = call[1];
  collective(call, Share::Whole, -1, [&](const nccl::Interface& api, nccl::Communicator communicator) {
    return api.allGather(x.data, out.data, countOf(x), typeOf(x), communicator, call.stream);
  });
}

void reduce_scatter(const Call& call) {
  const Tensor &x = call[0], &out = call[1];
  collective(call, Share::Scatter, -1, [&](const nccl::Interface& api, nccl::Communicator communicator) {
    return api.reduceScatter(x.data, out.data, countOf(out), typeOf(x), nccl::kSum, communicator, call.stream);
  });
}

void broadcast(const Call& call) {
  const Tensor& x = call[0];
  const int root = static_cast<int>(call.attribute(1));
  collective(call, Share::Root, root, [&](const nccl::Interface& api, nccl::Communicator communicator) {
    return api.broadcast(x.data, x.data, countOf(x), typeOf(x), root, communicator, call.stream);
  });
}

}  // namespace cd::cuda
