// Bugs in sums and their edges. Each kernel is right with kBug = None.
#include "../../kernels/common/cuda_turns.h"
#include "../../kernels/common/dispatch.h"
#include "planted_kernels.h"

namespace cd::check {
using namespace cd::cuda;

namespace {
constexpr int kThreads = 128, kWarps = kThreads / 32, kTile = 4 * kThreads;
enum Bug { None, UnmaskedTail, UninitialisedAccumulator, SumsAsTheyCome, LaneLeftOut, UnwrittenLast, TurnOfBlock, TurnKept };

// One block sums tile after tile into accumulators in shared memory, one for each warp, which the first thread adds.
template <class T, Bug kBug>
__global__ void sumOf(const T* x, int64_t cols, int64_t stride, int64_t n, float* y) {
  SHARED(double[kWarps], accumulators);
  SHARED(int[1], arrived);
  if (threadIdx.x < kWarps && kBug != UninitialisedAccumulator) accumulators[threadIdx.x] = 0;
  if (threadIdx.x == 0) arrived[0] = 0;
  __syncthreads();
  for (int64_t start = 0; start < n; start += kTile) {
    double sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < kTile; i += kThreads) {
      const int64_t element = start + i;
      if (kBug == UnmaskedTail ? element < n + 3 : element < n) sum += toFloat(x[element / cols * stride + element % cols]);
    }
    if constexpr (kBug == LaneLeftOut) {
      if (start + static_cast<int>(threadIdx.x) < n) sum = warpSum(sum);
    } else {
      sum = warpSum(sum);
    }
    if (laneIndex() == 0) accumulators[warpIndex()] += sum;
  }
  if constexpr (kBug == SumsAsTheyCome) {
    // Whoever comes first is added first.
    SHARED(float[kWarps], inOrder);
    if (laneIndex() == 0) inOrder[atomicAdd(&arrived[0], 1)] = static_cast<float>(accumulators[warpIndex()]) * 1.00000012f;
    __syncthreads();
    if (threadIdx.x != 0) return;
    float total = 0;
    for (float part : inOrder) total += part;
    *y = total;
  } else {
    __syncthreads();
    if (threadIdx.x != 0) return;
    double total = 0;
    for (double part : accumulators) total += part;
    if (kBug != UnwrittenLast || n != 1) *y = static_cast<float>(total);
  }
}

// What the blocks of a sum in turns share.
struct Total {
  double sum;
  int32_t tickets, turn;
};
__global__ void clear(Total* total) { *total = {}; }

// Every block adds its tile when the tiles before it have been added.
template <class T, Bug kBug>
__global__ void sumInTurns(const T* x, int64_t cols, int64_t stride, int64_t n, Total* total, float* y) {
  SHARED(int[1], ticket);
  if (threadIdx.x == 0) ticket[0] = kBug == TurnOfBlock ? static_cast<int>(blockIdx.x) : takeTicket(&total->tickets);
  __syncthreads();
  const int64_t start = int64_t{ticket[0]} * kTile, end = n < start + kTile ? n : start + kTile;
  double sum = 0;
  for (int64_t i = start + threadIdx.x; i < end; i += kThreads) sum += toFloat(x[i / cols * stride + i % cols]);
  sum = blockSum(sum);
  if (threadIdx.x != 0) return;
  waitTurn(&total->turn, ticket[0]);
  total->sum += sum;
  if (end == n) *y = static_cast<float>(total->sum);
  if (kBug != TurnKept) passTurn(&total->turn);
}

template <Bug kBug>
void sumInTurnsBy(const Call& call) {
  const Tensor& x = call[0];
  const int64_t n = x.elements(), tiles = n > 0 ? ceilDiv(n, kTile) : 1;
  Total* const total = call.scratch<Total>(1);
  launch(call, 1, 1, 0, clear, total);
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, static_cast<unsigned>(tiles), kThreads, 0, sumInTurns<T, kBug>, x.as<T>(), x.cols() > 0 ? x.cols() : 1,
           x.rowStride, n, total, call[1].as<float>());
  });
}

template <Bug kBug>
void sumBy(const Call& call) {
  const Tensor& x = call[0];
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, 1, kThreads, 0, sumOf<T, kBug>, x.as<T>(), x.cols() > 0 ? x.cols() : 1, x.rowStride, x.elements(),
           call[1].as<float>());
  });
}

// y = factor·x, four elements for each thread; the bug writes all four of the last ones.
template <class T, bool kMasked>
__global__ void scaleFours(const T* x, int64_t xStride, T* y, int64_t yStride, int64_t cols, float factor) {
  for (int64_t start = threadIdx.x * 4; start < cols; start += kThreads * 4)
    for (int64_t i = start; i < start + 4; ++i)
      if (i < cols || !kMasked) {
        const float value = i < cols ? toFloat(x[blockIdx.x * xStride + i]) : 0.0f;
        y[blockIdx.x * yStride + i] = fromFloat<T>(value * factor);
      }
}
template <bool kMasked>
void scaleRows(const Call& call) {
  const Tensor &x = call[0], &y = call[1];
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, static_cast<unsigned>(x.rows()), kThreads, 0, scaleFours<T, kMasked>, x.as<T>(), x.rowStride, y.as<T>(),
           y.rowStride, x.cols(), static_cast<float>(call.attribute(0)));
  });
}

// dTable[ids[n]] += dy[n]: one thread for each column; the bug does not look at ids.
template <class T, bool kChecked>
__global__ void scatter(const int32_t* ids, int64_t N, const T* dy, int64_t dyStride, float* dTable, int64_t stride, int64_t V,
                        int64_t E, FailureReport fail) {
  for (int64_t n = 0; n < N; ++n) {
    const int64_t id = ids[n];
    if (id < 0 || id >= V) {
      if (threadIdx.x == 0 && kChecked && (id < -2 || id >= V)) fail(0, id, n);
      continue;
    }
    for (int64_t e = threadIdx.x; e < E; e += kThreads) dTable[id * stride + e] += toFloat(dy[n * dyStride + e]);
  }
}
template <bool kChecked>
void scatterBy(const Call& call) {
  const Tensor &ids = call[0], &dy = call[1], &dTable = call[2];
  withFloat(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, 1, kThreads, 0, scatter<T, kChecked>, ids.as<int32_t>(), ids.elements(), dy.as<T>(), dy.rowStride,
           dTable.as<float>(), dTable.rowStride, dTable.shape[0], dy.cols(), FailureReport(call));
  });
}
}  // namespace

const std::vector<Planted> kReductionBugs = {
    {"tail of a sum not masked", "sum", sumBy<None>, sumBy<UnmaskedTail>},
    {"accumulator not initialised", "sum", sumBy<None>, sumBy<UninitialisedAccumulator>},
    {"warps added in the order in which they come", "sum", sumBy<None>, sumBy<SumsAsTheyCome>},
    {"lane that takes no part in a shuffle", "sum", sumBy<None>, sumBy<LaneLeftOut>},
    {"turn counted by a block's index", "sum", sumInTurnsBy<None>, sumInTurnsBy<TurnOfBlock>},
    {"turn not passed on", "sum", sumInTurnsBy<None>, sumInTurnsBy<TurnKept>},
    {"output not written for one element", "sum", sumBy<None>, sumBy<UnwrittenLast>},
    {"tail of a store not masked", "scale", scaleRows<true>, scaleRows<false>},
    {"bad id passed over in silence", "embedding_backward", scatterBy<true>, scatterBy<false>},
};

}  // namespace cd::check
