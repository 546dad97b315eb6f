#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;

template <class T>
struct Gather {
  Rows<T> table, y;
  const int32_t* ids;
  int64_t V;
  FailureReport fail;
  __device__ void operator()(int64_t n, int64_t start, int count) const {
    const int32_t id = ids[n];
    if (id < -2 || id >= V) return fail(0, id, n);
    T values[kSpan] = {};
    if (id >= 0) table.loadRaw(values, id, start, count);
    y.storeRaw(values, n, start, count);
  }
};

template <class T>
void gather(const Call& call) {
  const Tensor &table = call[0], &ids = call[1], &y = call[2];
  forSpans(call, y, false, Gather<T>{Rows<T>(table), Rows<T>(y), ids.as<int32_t>(), table.shape[0], FailureReport(call)});
}

// The places of each id as a list: next[n] is the next place after n with the same id, or N; first[n] says whether n is the
// first. One warp for every n.
__global__ void __launch_bounds__(kThreads)
    listPlaces(const int32_t* ids, int64_t N, int64_t V, int32_t* next, int32_t* first, FailureReport fail) {
  const int lane = laneIndex();
  for (int64_t n = int64_t{blockIdx.x} * (kThreads / 32) + warpIndex(); n < N; n += int64_t{gridDim.x} * (kThreads / 32)) {
    const int32_t id = ids[n];
    const bool valid = id >= 0 && id < V;
    if ((id < -2 || id >= V) && lane == 0) fail(0, id, n);
    bool seen = !valid;
    for (int64_t end = n; end > 0 && !seen; end -= 32) {
      const int64_t place = end - 1 - lane;
      seen = __any_sync(kAllLanes, place >= 0 && ids[place] == id);
    }
    int64_t found = N;
    for (int64_t start = n + 1; start < N && found == N; start += 32) {
      const unsigned same = __ballot_sync(kAllLanes, start + lane < N && ids[start + lane] == id);
      if (same) found = start + __ffs(static_cast<int>(same)) - 1;
    }
    if (lane == 0) {
      next[n] = static_cast<int32_t>(found);
      first[n] = !seen;
    }
  }
}

// One thread adds a span of all the gradients of one id, in the order of their places.
template <class T>
struct Scatter {
  Rows<T> dy;
  Rows<float> dTable;
  const int32_t *ids, *next, *first;
  int64_t N;
  __device__ void operator()(int64_t n, int64_t start, int count) const {
    if (!first[n]) return;
    float sum[kSpan], d[kSpan];
    dTable.load(sum, ids[n], start, count);
    for (int64_t place = n; place < N; place = next[place]) {
      dy.load(d, place, start, count);
#pragma unroll
      for (int i = 0; i < kSpan; ++i) sum[i] += d[i];
    }
    dTable.store(sum, ids[n], start, count);
  }
};

__global__ void __launch_bounds__(kThreads)
    localIds(const int32_t* ids, int64_t N, int64_t first, int64_t rows, int64_t vocabulary, int32_t* y, FailureReport fail) {
  for (int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x; n < N; n += int64_t{gridDim.x} * kThreads) {
    const int64_t id = ids[n];
    if (id < -1 || id >= vocabulary) fail(0, id, n);
    y[n] = static_cast<int32_t>(id == -1 ? -1 : id < first || id >= first + rows ? -2 : id - first);
  }
}
}  // namespace

void embedding(const Call& call) {
  if (call[0].dtype == DType::BF16) gather<uint16_t>(call);
  else if (call[0].dtype == DType::FP8) gather<uint8_t>(call);
  else gather<uint32_t>(call);
}

void embedding_backward(const Call& call) {
  const Tensor &ids = call[0], &dy = call[1], &dTable = call[2];
  const int64_t N = ids.elements();
  if (N == 0) return;
  int32_t* next = call.scratch<int32_t>(2 * N);
  int32_t* first = next + N;
  launch(call, blocksFor(N, kThreads / 32), kThreads, 0, listPlaces, ids.as<int32_t>(), N, dTable.shape[0], next, first,
         FailureReport(call));
  withFloat(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, dy, false, Scatter<T>{Rows<T>(dy), Rows<float>(dTable), ids.as<int32_t>(), next, first, N});
  });
}

void local_ids(const Call& call) {
  const int64_t N = call[0].elements();
  launch(call, blocksFor(N, kThreads), kThreads, 0, localIds, call[0].as<int32_t>(), N, static_cast<int64_t>(call.attribute(0)),
         static_cast<int64_t>(call.attribute(1)), static_cast<int64_t>(call.attribute(2)), call[1].as<int32_t>(),
         FailureReport(call));
}

}  // namespace cd::cuda
