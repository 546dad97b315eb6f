// Bugs in how threads of a block wait for each other. Each kernel is right with kBug = None.
#include "../../kernels/common/cuda_copy.h"
#include "../../kernels/common/dispatch.h"
#include "planted_kernels.h"

namespace cd::check {
using namespace cd::cuda;

namespace {
constexpr int kThreads = 96;  // three warps

struct View {
  int64_t cols, stride;
  explicit View(const Tensor& tensor) : cols(tensor.cols()), stride(tensor.rowStride) {}
  __device__ int64_t operator()(int64_t element) const { return element / cols * stride + element % cols; }
};

enum Bug { None, NoBarrierAfterRead, NoBarrierBeforeRead, BarrierInBranch, NoWarpBarrier };

// y = factor·x by way of shared memory, from which every thread takes what another one put there.
template <class T, Bug kBug>
__global__ void scaleReversed(const T* x, View xAt, T* y, View yAt, int64_t n, float factor) {
  SHARED(float[kThreads], tile);
  const int me = static_cast<int>(threadIdx.x);
  for (int64_t start = 0; start < n; start += kThreads) {
    const int count = static_cast<int>(n - start < kThreads ? n - start : kThreads);
    if (me < count) tile[me] = toFloat(x[xAt(start + me)]);
    if constexpr (kBug == BarrierInBranch) {
      if (me < count) __syncthreads();
    } else if constexpr (kBug != NoBarrierBeforeRead) {
      __syncthreads();
    }
    const int from = count - 1 - me;
    if (me < count) y[yAt(start + from)] = fromFloat<T>(tile[from] * factor);
    if constexpr (kBug != NoBarrierAfterRead) __syncthreads();
  }
}

// The same within each warp.
template <class T, Bug kBug>
__global__ void scaleInWarps(const T* x, View xAt, T* y, View yAt, int64_t n, float factor) {
  SHARED(float[kThreads], tile);
  float* mine = tile + warpIndex() * 32;
  for (int64_t start = 0; start < n; start += kThreads) {
    const int64_t from = start + warpIndex() * 32, other = from + (laneIndex() ^ 1);
    if (from + laneIndex() < n) mine[laneIndex()] = toFloat(x[xAt(from + laneIndex())]);
    if constexpr (kBug != NoWarpBarrier) __syncwarp();
    if (other < n) y[yAt(other)] = fromFloat<T>(mine[laneIndex() ^ 1] * factor);
    __syncwarp();
  }
}

template <template <class, Bug> class Kernel, Bug kBug>
void scaleBy(const Call& call) {
  const Tensor &x = call[0], &y = call[1];
  const unsigned blocks = x.elements() > 0;
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, blocks, kThreads, 0, Kernel<T, kBug>::function, x.as<T>(), View(x), y.as<T>(), View(y), x.elements(),
           static_cast<float>(call.attribute(0)));
  });
}
template <class T, Bug kBug>
struct Reversed {
  static constexpr auto function = scaleReversed<T, kBug>;
};
template <class T, Bug kBug>
struct InWarps {
  static constexpr auto function = scaleInWarps<T, kBug>;
};

// dy gathers: y[n] = table[ids[n]] by asynchronous copies of 16 bytes, two rows under way.
enum CopyBug { NoCopyBug, WaitsForTheOther, WritesOverWhatIsRead, WritesTwice };
struct Buffers {
  alignas(16) uint8_t row[2][32][16];
};
template <CopyBug kBug>
__global__ void copyRows(const uint8_t* x, uint8_t* y, int64_t bytes) {
  auto& buffers = dynamicShared<Buffers>();
  const int64_t step = 32 * 16, mine = laneIndex() * 16, steps = ceilDiv(bytes, step);
  constexpr bool kOneBuffer = kBug == WritesOverWhatIsRead || kBug == WritesTwice;
  const auto fetch = [&](int64_t i) {
    const int64_t from = i * step + mine, rest = bytes - from;
    if (i < steps)
      copyAsync16(buffers.row[kOneBuffer ? 0 : i % 2][laneIndex()], x + (rest > 0 ? from : 0),
                  static_cast<int>(rest < 0    ? 0
                                   : rest < 16 ? rest
                                               : 16));
    copyAsyncCommit();
  };
  fetch(0);
  for (int64_t i = 0; i < steps; ++i) {
    if constexpr (kBug == WritesOverWhatIsRead) copyAsyncWait<0>();
    fetch(i + 1);
    if constexpr (kBug == WaitsForTheOther) copyAsyncWait<2>();
    else copyAsyncWait<1>();
    for (int64_t j = 0; j < 16 && i * step + mine + j < bytes; ++j)
      y[i * step + mine + j] = buffers.row[kOneBuffer ? 0 : i % 2][laneIndex()][j];
  }
}
template <CopyBug kBug>
void copyBy(const Call& call) {
  const Tensor &x = call[0], &y = call[1];
  // What cannot be copied in pieces of 16 bytes goes the way of the sound kernel.
  if (x.dtype != y.dtype || !x.contiguous() || !y.contiguous() || reinterpret_cast<uintptr_t>(x.data) % 16 != 0)
    return cd::cuda::copy(call);
  const int64_t bytes = x.elements() * dtypeSize(x.dtype);
  launch(call, bytes > 0, 32, sizeof(Buffers), copyRows<kBug>, x.as<uint8_t>(), y.as<uint8_t>(), bytes);
}
}  // namespace

const std::vector<Planted> kSynchronisationBugs = {
    {"missing barrier after a read", "scale", scaleBy<Reversed, None>, scaleBy<Reversed, NoBarrierAfterRead>},
    {"missing barrier before a read", "scale", scaleBy<Reversed, None>, scaleBy<Reversed, NoBarrierBeforeRead>},
    {"barrier that some threads do not reach", "scale", scaleBy<Reversed, None>, scaleBy<Reversed, BarrierInBranch>},
    {"missing barrier within a warp", "scale", scaleBy<InWarps, None>, scaleBy<InWarps, NoWarpBarrier>},
    {"copy read before it was waited for", "copy", copyBy<NoCopyBug>, copyBy<WaitsForTheOther>},
    {"copy into a buffer that is still read", "copy", copyBy<NoCopyBug>, copyBy<WritesOverWhatIsRead>},
    {"two copies into one buffer under way", "copy", copyBy<NoCopyBug>, copyBy<WritesTwice>},
};

}  // namespace cd::check
