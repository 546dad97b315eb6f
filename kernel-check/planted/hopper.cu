// Bugs in how a producer's copies and a warpgroup's products wait for each other. Each kernel is right with kBug = None: a matrix
// product in tiles of 64 × 64 × 64 and two stages, by a warpgroup that copies and one that multiplies. Two warps of the first one
// hand the right operand on through a tile of their own, as kernels do that change it on the way.
#include "../../kernels/common/cuda_wgmma.h"
#include "../../kernels/common/dispatch.h"
#include "planted_kernels.h"

namespace cd::check {
using namespace cd::cuda;

namespace {
constexpr int kTile = 64, kStages = 2, kTileBytes = kTile * kSwizzleRow;
constexpr int kHanding = 64, kTaking = kHanding + kWarpgroup;  // threads
enum Bug {
  None,
  SkippedWait,
  WrongPhase,
  FewBytes,
  NoWaitForEmpty,
  EarlyRelease,
  SumsReadEarly,
  WrongStep,
  WrongSwizzle,
  MultipliedBeforeWritten,
  WrittenWhileMultiplied,
  FewThreads,
  StoreNotWaitedFor,
  StoredBeforeWritten
};

struct Tiles {
  alignas(kSwizzleAlignment) char left[kStages][kTileBytes], right[kStages][kTileBytes], handed[kTileBytes], result[kTileBytes];
  PhaseBarrier full[kStages], empty[kStages];
};

struct Product {
  int64_t M, N, K, stride;
  float alpha;
  bool accumulate, storeTiles;
  void* c;
};

template <Operand kOperand>
__device__ uint64_t operand(const char* tile, int k) {
  return kOperand == Operand::AlongK ? alongK(tile, k) : acrossK(tile, k, 0);
}
// The coordinates of a tile at `row` of M or N and `k`.
template <Operand kOperand>
__device__ void load(char* tile, const TensorMap& map, int row, int k, PhaseBarrier& barrier) {
  const int alongK[2] = {k, row}, acrossK[2] = {row, k};
  loadTile<2>(tile, map, kOperand == Operand::AlongK ? alongK : acrossK, barrier);
}

template <class R, Operand kLeft, Operand kRight, Bug kBug>
__global__ void __launch_bounds__(2 * kWarpgroup, 1)
    product(const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right,
            const __grid_constant__ TensorMap result, Product p) {
  auto& tiles = dynamicShared<Tiles>();
  const int steps = static_cast<int>(ceilDiv(p.K, kTile)), row = static_cast<int>(blockIdx.y) * kTile,
            column = static_cast<int>(blockIdx.x) * kTile;
  if (threadIdx.x == 0)
    for (int stage = 0; stage < kStages; ++stage) {
      initBarrier(tiles.full[stage], 1);
      initBarrier(tiles.empty[stage], kWarpgroup);
    }
  fenceBarriers();
  __syncthreads();

  if (threadIdx.x < kWarpgroup) {
    giveRegisters<40>();
    if (threadIdx.x >= kWarpgroup - kHanding) {
      for (int step = 0; step < steps; ++step) {
        if constexpr (kBug != SkippedWait) waitPhase(tiles.full[step % kStages], step / kStages % 2);
        if (kBug != WrittenWhileMultiplied && step > 0) syncThreads(3, kTaking);
        for (int i = static_cast<int>(threadIdx.x) % kHanding; i < kTileBytes / 16; i += kHanding)
          reinterpret_cast<uint4*>(tiles.handed)[i] = reinterpret_cast<const uint4*>(tiles.right[step % kStages])[i];
        fenceAsync();
        arriveThreads(2, kBug == FewThreads ? kWarpgroup : kTaking);
      }
    }
    if (threadIdx.x != 0) return;
    for (int step = 0; step < steps; ++step) {
      const int stage = step % kStages;
      if constexpr (kBug != NoWaitForEmpty) waitPhase(tiles.empty[stage], step / kStages % 2 ^ 1);
      arriveAnnouncing(tiles.full[stage], kBug == FewBytes ? kTileBytes : 2 * kTileBytes);
      load<kLeft>(tiles.left[stage], left, row, step * kTile, tiles.full[stage]);
      load<kRight>(tiles.right[stage], right, column, step * kTile, tiles.full[stage]);
    }
    return;
  }

  takeRegisters<200>();
  float sums[kTile / 8][4] = {};
  for (int step = 0; step < steps; ++step) {
    const int stage = step % kStages;
    if constexpr (kBug == WrongPhase) waitPhase(tiles.full[stage], step / kStages % 2 ^ 1);
    else if constexpr (kBug != SkippedWait) waitPhase(tiles.full[stage], step / kStages % 2);
    if constexpr (kBug == MultipliedBeforeWritten) arriveThreads(2, kTaking);
    else syncThreads(2, kTaking);
    fenceProducts();
#pragma unroll
    for (int k = 0; k < kTile; k += 16) {
      const int other = kBug == WrongStep && k > 0 ? k - 16 : k;
      warpgroupMma<kTile, kLeft, kRight>(sums, operand<kLeft>(tiles.left[stage], k), operand<kRight>(tiles.handed, other),
                                         step > 0 || k > 0);
    }
    commitProducts();
    if constexpr (kBug == EarlyRelease) arrive(tiles.empty[stage]);
    if (kBug != SumsReadEarly || step + 1 < steps) waitProducts<0>();
    if (kBug != WrittenWhileMultiplied && step + 1 < steps) arriveThreads(3, kTaking);
    if constexpr (kBug != EarlyRelease) arrive(tiles.empty[stage]);
  }
  float copy[kTile / 8][4];
  for (int j = 0; j < kTile / 8; ++j)
    for (int i = 0; i < 4; ++i) copy[j][i] = sums[j][i];
  if constexpr (kBug == SumsReadEarly) waitProducts<0>();

  const int thread = static_cast<int>(threadIdx.x) - kWarpgroup, lane = laneIndex();
  R* c = static_cast<R*>(p.c);
  for (int j = 0; j < kTile / 8; ++j)
    for (int i = 0; i < 4; ++i) {
      const int r = thread / 32 * 16 + lane / 4 + i / 2 * 8, n = j * 8 + lane % 4 * 2 + i % 2;
      if (p.storeTiles) {
        const int byte = kBug == WrongSwizzle ? r * kSwizzleRow + 2 * n : swizzled(r, 2 * n);
        *reinterpret_cast<R*>(tiles.result + byte) = fromFloat<R>(p.alpha * copy[j][i]);
      } else if (row + r < p.M && column + n < p.N) {
        R* target = c + (row + r) * p.stride + column + n;
        *target = fromFloat<R>(p.alpha * copy[j][i] + (p.accumulate ? toFloat(*target) : 0.0f));
      }
    }
  if (!p.storeTiles) return;
  fenceAsync();
  if constexpr (kBug != StoredBeforeWritten) syncThreads(1, kWarpgroup);
  if (thread == 0) {
    const int at[2] = {column, row};
    storeTile<2>(result, at, tiles.result);
    commitStores();
    if constexpr (kBug != StoreNotWaitedFor) waitStores<0>();
  }
}

// What the copy engine does not take.
template <class T, class R>
__global__ void plain(Product p, const T* a, int64_t aRow, int64_t aK, const T* b, int64_t bColumn, int64_t bK) {
  const int64_t row = blockIdx.x, column = int64_t{blockIdx.y} * 64 + threadIdx.x;
  if (column >= p.N) return;
  float sum = 0;
  for (int64_t k = 0; k < p.K; ++k) sum = fmaf(toFloat(a[row * aRow + k * aK]), toFloat(b[column * bColumn + k * bK]), sum);
  R* target = static_cast<R*>(p.c) + row * p.stride + column;
  *target = fromFloat<R>(p.alpha * sum + (p.accumulate ? toFloat(*target) : 0.0f));
}

TensorMap mapOf(const Tensor& tensor) {
  // One row may have any stride, which the copy engine would not take.
  const int64_t stride = tensor.rows() > 1 ? tensor.rowStride : kTile;
  return tensorMap({tensor.data, tensor.dtype, 2, {tensor.cols(), tensor.rows()}, {1, stride}, {kTile, kTile}});
}

template <Bug kBug>
void productBy(const Call& call) {
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const bool turnedA = call.attribute(0) != 0, turnedB = call.attribute(1) != 0;
  Product p{c.rows(),
            c.cols(),
            turnedA ? a.rows() : a.cols(),
            c.rowStride,
            static_cast<float>(call.attribute(3)),
            call.attribute(2) != 0,
            false,
            c.data};
  if (p.M == 0 || p.N == 0) return;
  if (a.dtype != DType::BF16 || p.K == 0 || !packable(a) || !packable(b))
    return withFloat(a.dtype, [&](auto zero) {
      withFloat(c.dtype, [&](auto result) {
        using T = decltype(zero);
        launch(call, dim3(static_cast<unsigned>(p.M), static_cast<unsigned>(ceilDiv(p.N, 64))), 64, 0, plain<T, decltype(result)>,
               p, a.as<T>(), turnedA ? int64_t{1} : a.rowStride, turnedA ? a.rowStride : int64_t{1}, b.as<T>(),
               turnedB ? b.rowStride : int64_t{1}, turnedB ? int64_t{1} : b.rowStride);
      });
    });
  p.storeTiles = c.dtype == DType::BF16 && !p.accumulate && packable(c);
  const TensorMap left = mapOf(a), right = mapOf(b), result = p.storeTiles ? mapOf(c) : left;
  const dim3 grid(static_cast<unsigned>(ceilDiv(p.N, kTile)), static_cast<unsigned>(ceilDiv(p.M, kTile)));
  const auto run = [&](auto kernel) { launch(call, grid, 2 * kWarpgroup, sizeof(Tiles), kernel, left, right, result, p); };
  constexpr Operand kAlong = Operand::AlongK, kAcross = Operand::AcrossK;
  withFloat(c.dtype, [&](auto zero) {
    using R = decltype(zero);
    if (turnedA && turnedB) run(product<R, kAcross, kAlong, kBug>);
    else if (turnedA) run(product<R, kAcross, kAcross, kBug>);
    else if (turnedB) run(product<R, kAlong, kAlong, kBug>);
    else run(product<R, kAlong, kAcross, kBug>);
  });
}
}  // namespace

const std::vector<Planted> kHopperBugs = {
    {"tile read before its copy was waited for", "matmul", productBy<None>, productBy<SkippedWait>},
    {"wait for the wrong phase of a barrier", "matmul", productBy<None>, productBy<WrongPhase>},
    {"fewer bytes announced than copied", "matmul", productBy<None>, productBy<FewBytes>},
    {"copy into a stage that products still read", "matmul", productBy<None>, productBy<NoWaitForEmpty>},
    {"stage released before its products were waited for", "matmul", productBy<None>, productBy<EarlyRelease>},
    {"sums read before products were waited for", "matmul", productBy<None>, productBy<SumsReadEarly>},
    {"wrong step along K", "matmul", productBy<None>, productBy<WrongStep>},
    {"tile written without its swizzle", "matmul", productBy<None>, productBy<WrongSwizzle>},
    {"products of a tile that others still write", "matmul", productBy<None>, productBy<MultipliedBeforeWritten>},
    {"tile written while products still read it", "matmul", productBy<None>, productBy<WrittenWhileMultiplied>},
    {"barrier of fewer threads than come to it", "matmul", productBy<None>, productBy<FewThreads>},
    {"store not waited for", "matmul", productBy<None>, productBy<StoreNotWaitedFor>},
    {"store of a tile that others still write", "matmul", productBy<None>, productBy<StoredBeforeWritten>},
};

}  // namespace cd::check
