// Packed attention forward on Hopper: one warpgroup copies tiles of keys and values, two multiply (Shah et al. 2024). Each of
// these has 64 rows of a piece of 128; the scores of the next tile are multiplied while the softmax of this one is made. The two
// take turns at starting products, so that one makes its softmax while the other multiplies.
//
// A row's bits depend on its own keys alone, as in cuda_forward.h: tiles start at the document's first key, and keys that a row
// does not see leave its state as it is.
#pragma once

#include "cuda_forward.h"
#include "cuda_hopper_tile.h"

namespace cd::cuda::attend {

template <int kHead>
struct HopperForward {
  static constexpr int kKeys = kHead == 256 ? 64 : 128;  // of a tile
  static constexpr int kRows = 128, kStages = 2;
  static constexpr int kConsumers = 2 * kWarpgroup, kThreads = kConsumers + kWarpgroup, kConsumerWarps = kConsumers / 32;
  using Keys = SwizzledTile<kKeys, kHead>;

  struct Tiles {
    SwizzledTile<kRows, kHead> q;
    Keys k[kStages], v[kStages];
    PhaseBarrier kFull[kStages], kEmpty[kStages], vFull[kStages], vEmpty[kStages];
  };
};

// The softmax of one row so far. Scores are as they come from the product; `scale` takes them to powers of two.
struct RowState {
  float most = -INFINITY, sum = 0;

  // Takes the scores of one tile in: they become weights. What the output so far shrinks to.
  template <int kParts>
  __device__ __forceinline__ float take(float (&scores)[kParts][4], int half, float scale) {
    float greatest = -INFINITY;
#pragma unroll
    for (int j = 0; j < kParts; ++j) greatest = fmaxf(greatest, fmaxf(scores[j][2 * half], scores[j][2 * half + 1]));
    const float before = most;
    most = fmaxf(most, rowMax(greatest));
    const float offset = most == -INFINITY ? 0.0f : -most * scale;
    const float shrink = before == most ? 1.0f : exp2Fast(fmaf(before, scale, offset));
    float added = 0;
#pragma unroll
    for (int j = 0; j < kParts; ++j)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) added += scores[j][i] = exp2Fast(fmaf(scores[j][i], scale, offset));
    sum = fmaf(sum, shrink, added);
    return shrink;
  }
};

template <int D>
__device__ __forceinline__ void copyTiles(typename HopperForward<D>::Tiles& tiles, const TensorMap& keys, const TensorMap& values,
                                          int firstKey, int group, int from, int to) {
  using Shape = HopperForward<D>;
  const auto load = [&](typename Shape::Keys& tile, const TensorMap& map, int number, PhaseBarrier& full) {
    arriveAnnouncing(full, Shape::Keys::kBytes);
    tile.load(map, firstKey + number * Shape::kKeys, group, full);
  };
  for (int tile = from; tile < to; ++tile) {
    const int stage = (tile - from) % Shape::kStages, round = (tile - from) / Shape::kStages % 2;
    waitPhase(tiles.kEmpty[stage], round ^ 1);
    load(tiles.k[stage], keys, tile, tiles.kFull[stage]);
    waitPhase(tiles.vEmpty[stage], round ^ 1);
    load(tiles.v[stage], values, tile, tiles.vFull[stage]);
  }
}

// One block for each piece of 128 rows and each group.
template <int D>
__global__ void __launch_bounds__(HopperForward<D>::kThreads, 1)
    attendHopper(Forward<BFloat16, PackedKeys> a, const __grid_constant__ TensorMap keyMap,
                 const __grid_constant__ TensorMap valueMap) {
#if CD_HOPPER
  using Shape = HopperForward<D>;
  constexpr int kKeys = Shape::kKeys;
  const Piece piece = findPiece<Shape::kRows>(a.documents, blockIdx.x);
  if (piece.document < 0) return;
  auto& tiles = dynamicShared<typename Shape::Tiles>();
  const int group = static_cast<int>(blockIdx.y), start = a.documents.bounds[piece.document];
  const int from = a.firstKey(a.position(piece, 0)) / kKeys, to = a.position(piece, piece.rows - 1) / kKeys + 1;
  if (threadIdx.x == 0)
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      initBarrier(tiles.kFull[stage], 1);
      initBarrier(tiles.vFull[stage], 1);
      initBarrier(tiles.kEmpty[stage], Shape::kConsumerWarps);
      initBarrier(tiles.vEmpty[stage], Shape::kConsumerWarps);
    }
  fenceBarriers();
  __syncthreads();

  if (threadIdx.x < kWarpgroup) {
    giveRegisters<24>();
    if (threadIdx.x == 0) copyTiles<D>(tiles, keyMap, valueMap, start, group, from, to);
    return;
  }
  takeRegisters<240>();
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroup, lane = laneIndex();
  const int warpgroup = __shfl_sync(kAllLanes, thread / kWarpgroup, 0);
  const int firstRow = thread / 32 * 16 + lane / 4;  // and the row eight below
  const auto release = [&](PhaseBarrier& empty) {
    if (lane == 0) arrive(empty);
  };

  // The queries, by the threads that multiply them: rows of a group lie apart.
#pragma unroll 2
  for (int i = thread; i < Shape::kRows * D / 8; i += Shape::kConsumers) {
    const int row = i / (D / 8), column = i % (D / 8) * 8;
    const bool inside = row < piece.rows;
    copyAsync16(tiles.q.at(row, column), inside ? a.q[a.row(piece, row, group)] + column : a.q.data, inside ? 16 : 0);
  }
  copyAsyncCommit();
  copyAsyncWait<0>();
  fenceAsync();
  syncThreads(1, Shape::kConsumers);

  const int earliest = a.position(piece, thread / 32 * 16), latest = a.position(piece, thread / 32 * 16 + 15);  // of the warp
  float o[D / 8][4] = {}, scores[kKeys / 8][4];
  uint32_t weights[kKeys / 16][4];
  RowState state[2];

  const auto multiplyScores = [&](int tile) {
    const int stage = (tile - from) % Shape::kStages;
    waitPhase(tiles.kFull[stage], (tile - from) / Shape::kStages % 2);
    fenceProducts();
#pragma unroll
    for (int d = 0; d < D; d += 16)
      warpgroupMma<kKeys, Operand::AlongK, Operand::AlongK>(scores, tiles.q.alongColumns(warpgroup * 64, d),
                                                            tiles.k[stage].alongColumns(0, d), d > 0);
    commitProducts();
  };
  const auto multiplyValues = [&](int tile) {
    const int stage = (tile - from) % Shape::kStages;
    waitPhase(tiles.vFull[stage], (tile - from) / Shape::kStages % 2);
    const int keys = a.documents.keys(piece.document) - tile * kKeys;
    if (keys < kKeys) {
      tiles.v[stage].template clear<Shape::kConsumers>(keys, thread);
      fenceAsync();
      syncThreads(2, Shape::kConsumers);
    }
    fenceProducts();
#pragma unroll
    for (int k = 0; k < kKeys; k += 16)
      warpgroupMma<D, Operand::AcrossK>(o, weights[k / 16], tiles.v[stage].alongRows(k, 0), true);
    commitProducts();
  };
  float shrink[2];
  const auto takeScores = [&](int tile) {
    // Tiles that all rows of the warp see whole need no mask.
    if (tile * kKeys + kKeys - 1 > earliest || tile * kKeys < a.firstKey(latest)) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // The columns that the row sees.
        const int position = a.position(piece, firstRow + 8 * half);
        const int last = position - tile * kKeys, first = a.firstKey(position) - tile * kKeys;
#pragma unroll
        for (int j = 0; j < kKeys / 8; ++j)
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i)
            if (fragmentColumn(j, i) > last || fragmentColumn(j, i) < first) scores[j][i] = -INFINITY;
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) shrink[half] = state[half].take(scores, half, a.scale);
  };
  multiplyScores(from);
  waitProducts<0>();
  holdRegisters(scores);
  release(tiles.kEmpty[0]);
  takeScores(from);
  packOperands(weights, scores);
  // Barrier kTurn + warpgroup: its turn, which the other one gives it.
  constexpr int kTurn = 3;
  if (warpgroup == 1 && from + 1 < to) arriveThreads(kTurn, Shape::kConsumers);
  for (int tile = from + 1; tile < to; ++tile) {
    syncThreads(kTurn + warpgroup, Shape::kConsumers);
    multiplyScores(tile);
    multiplyValues(tile - 1);
    if (warpgroup == 0 || tile + 1 < to) arriveThreads(kTurn + (warpgroup ^ 1), Shape::kConsumers);
    waitProducts<1>();
    holdRegisters(scores);
    release(tiles.kEmpty[(tile - from) % Shape::kStages]);
    takeScores(tile);
    waitProducts<0>();
    holdRegisters(o);
    release(tiles.vEmpty[(tile - 1 - from) % Shape::kStages]);
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) o[j][i] *= shrink[i / 2];
    packOperands(weights, scores);
  }
  multiplyValues(to - 1);
  waitProducts<0>();
  holdRegisters(o);

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = firstRow + 8 * half;
    Softmax softmax;
    softmax.most = state[half].most * a.scale;
    softmax.sum = rowSum(state[half].sum);
    if (row >= piece.rows) continue;
    const float sinkShrink = a.sinks ? softmax.joinSink(a.sinks[a.head(piece, row, group)]) : 1.0f;
    const float factor = sinkShrink / softmax.sum;
    const int64_t out = a.row(piece, row, group);
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
      storePair(a.o[out] + fragmentColumn(j, 0), o[j][2 * half] * factor, o[j][2 * half + 1] * factor);
    if (a.lse && lane % 4 == 0) a.lse[out] = softmax.lse();
  }
#endif
}

}  // namespace cd::cuda::attend
