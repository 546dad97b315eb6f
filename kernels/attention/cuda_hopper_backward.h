// Packed attention backward on Hopper, with five products where the plain kernels (cuda_backward.h) have seven: one block for
// each tile of keys makes dk and dv in registers, along all queries that see them, and adds its part of dq to sums in global
// memory.
//
// Those sums have one order: blocks add to a tile of queries from the first keys that it sees to the last ones, in turns
// (cuda_turns.h). Tickets go by group and then by keys, so the blocks with the most queries come first; all go from their last
// queries to their first ones, so that those of a group follow each other through the same tiles, one step apart.
//
// Warps of a block: one that copies tiles, two that copy lse and delta, one that adds to dq, and two warpgroups that multiply.
// Keys are rows of what these hold, queries are columns: probabilities and dS are left operands of dv and dk as they are. For dq,
// dS goes through shared memory. With heads of up to 128 a warpgroup has 64 of the 128 keys. With heads of 256 the sums of 64
// keys fill the registers of both, which have 128 of the columns each and make the same probabilities twice. dS is made of
// probabilities as dv takes them, rounded to bf16: for those as they were there are no registers left.
#pragma once

#include "../common/cuda_turns.h"
#include "cuda_backward.h"
#include "cuda_hopper_tile.h"

namespace cd::cuda::attend {

constexpr int kRowThreads = 64;  // which copy lse and delta

template <int kHead>
struct HopperBackward {
  static constexpr int kKeys = kHead == 256 ? 64 : 128, kQueries = kHead == 64 ? 128 : 64;  // of a tile
  static constexpr int kStages = kHead == 256 ? 1 : 2;                                      // as many as there is memory for
  static constexpr int kColumns = kHead < 128 ? kHead : 128;                                // of dk and dv, for a warpgroup
  static constexpr int kSumColumns = kHead == 256 ? 128 : 64;                               // of 64 rows of dq, for a warpgroup
  static constexpr int kConsumers = 2 * kWarpgroup, kThreads = kConsumers + kWarpgroup, kConsumerWarps = kConsumers / 32;
  using Keys = SwizzledTile<kKeys, kHead>;
  using Queries = SwizzledTile<kQueries, kHead>;

  struct Tiles {
    Keys k, v;
    Queries q[kStages], dOut[kStages];
    SwizzledTile<kKeys, kQueries> ds[2];
    alignas(16) float dq[kQueries * kHead];
    float offset[kStages][kQueries], delta[kStages][kQueries];  // offset: −lse, as a power of two
    PhaseBarrier keysFull, qFull[kStages], qEmpty[kStages], dOutFull[kStages], dOutEmpty[kStages], dqFull, dqEmpty;
    int ticket;
  };
};

// Sums of dq, and whose turn it is to add to them.
struct QuerySums {
  float* dq;       // [H, T, D], columns of a row in the order of `sumPlace`
  int32_t* turns;  // [H, T]: of a tile, at its first query; then the counter of tickets
  int64_t tokens, H;

  __device__ int64_t row(int head, int64_t token) const { return head * tokens + token; }
  __device__ int32_t* tickets() const { return turns + H * tokens; }
};

// Where columns 16 · part + {2 · pair, 2 · pair + 1, 2 · pair + 8, 2 · pair + 9} of a token's row of sums lie: together, as a
// thread has them, and apart from those of the next token, so that lanes of a warp meet in no bank.
__device__ __forceinline__ int sumPlace(int64_t token, int part, int pair) {
  return (part ^ static_cast<int>(token & 1)) * 16 + pair * 4;
}

// What a block goes through: tiles of queries, the last one first, and in each the heads of the group.
template <int D>
struct QueryWalk {
  using Shape = HopperBackward<D>;
  int start, queries, firstKey, firstHead, heads, lastTile, steps;  // start: of the document

  __device__ QueryWalk(const Backward<BFloat16>& a, const Piece& piece, int group)
      : start(a.keyPieces.bounds[piece.document]),
        queries(piece.queries),
        firstKey(piece.firstRow),
        firstHead(group * a.queryPieces.heads),
        heads(a.queryPieces.heads),
        lastTile((a.endOfQueries(firstKey + piece.rows - 1, queries) - 1) / Shape::kQueries),
        steps((lastTile - firstKey / Shape::kQueries + 1) * heads) {}
};

// Where a block is on its way.
template <int D>
struct QueryStep {
  using Shape = HopperBackward<D>;
  int number = 0, head = 0, firstQuery;  // head: of the group

  __device__ explicit QueryStep(const QueryWalk<D>& walk) : firstQuery(walk.lastTile * Shape::kQueries) {}
  __device__ void next(const QueryWalk<D>& walk) {
    ++number;
    if (++head < walk.heads) return;
    head = 0;
    firstQuery -= Shape::kQueries;
  }
  // How many of the tile's queries are the document's.
  __device__ int rows(const QueryWalk<D>& walk) const { return min(Shape::kQueries, walk.queries - firstQuery); }
  __device__ int stage() const { return number % Shape::kStages; }
  __device__ int round() const { return number / Shape::kStages % 2; }
};

template <int D>
__device__ __forceinline__ void copyTiles(typename HopperBackward<D>::Tiles& tiles, const QueryWalk<D>& walk, int group,
                                          const TensorMap& keyMap, const TensorMap& valueMap, const TensorMap& queryMap,
                                          const TensorMap& dOutMap) {
  using Shape = HopperBackward<D>;
  arriveAnnouncing(tiles.keysFull, 2 * Shape::Keys::kBytes);
  tiles.k.load(keyMap, walk.start + walk.firstKey, group, tiles.keysFull);
  tiles.v.load(valueMap, walk.start + walk.firstKey, group, tiles.keysFull);
  for (QueryStep<D> step(walk); step.number < walk.steps; step.next(walk)) {
    const int stage = step.stage(), round = step.round(), row = walk.start + step.firstQuery, head = walk.firstHead + step.head;
    waitPhase(tiles.qEmpty[stage], round ^ 1);
    arriveAnnouncing(tiles.qFull[stage], Shape::Queries::kBytes);
    tiles.q[stage].load(queryMap, row, head, tiles.qFull[stage]);
    waitPhase(tiles.dOutEmpty[stage], round ^ 1);
    arriveAnnouncing(tiles.dOutFull[stage], Shape::Queries::kBytes);
    tiles.dOut[stage].load(dOutMap, row, head, tiles.dOutFull[stage]);
  }
}

// By two warps: lse and delta come with q. Rows that are not the document's get probabilities of 0.
template <int D>
__device__ __forceinline__ void copyRowSums(typename HopperBackward<D>::Tiles& tiles, const Backward<BFloat16>& a,
                                            const QueryWalk<D>& walk, int thread) {
  constexpr int kRows = HopperBackward<D>::kQueries / kRowThreads;
  for (QueryStep<D> step(walk); step.number < walk.steps; step.next(walk)) {
    const int stage = step.stage(), rows = step.rows(walk);
    float offset[kRows], delta[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int row = thread + i * kRowThreads;
      const int64_t place = (int64_t{walk.start} + step.firstQuery + row) * a.queryHeads + walk.firstHead + step.head;
      offset[i] = row < rows ? -a.lse[place] * kLog2E : -INFINITY;
      delta[i] = row < rows ? a.delta[place] : 0;
    }
    waitPhase(tiles.qEmpty[stage], step.round() ^ 1);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      tiles.offset[stage][thread + i * kRowThreads] = offset[i];
      tiles.delta[stage][thread + i * kRowThreads] = delta[i];
    }
    arrive(tiles.qFull[stage]);
  }
}

template <int D>
__device__ __forceinline__ void addQueries(typename HopperBackward<D>::Tiles& tiles, const Backward<BFloat16>& a,
                                           const QueryWalk<D>& walk, const QuerySums& sums) {
  using Shape = HopperBackward<D>;
  for (QueryStep<D> step(walk); step.number < walk.steps; step.next(walk)) {
    const int number = walk.firstKey / Shape::kKeys - a.firstKey(step.firstQuery) / Shape::kKeys;
    const int64_t row = sums.row(walk.firstHead + step.head, walk.start + step.firstQuery);
    waitPhase(tiles.dqFull, step.number % 2);
    waitTurn(sums.turns + row, number);
    if (number == 0) storeFloats(sums.dq + row * D, tiles.dq, step.rows(walk) * D);
    else addFloats(sums.dq + row * D, tiles.dq, step.rows(walk) * D);
    commitStores();
    waitStores<0>();
    arrive(tiles.dqEmpty);
    waitStored();
    passTurn(sums.turns + row);
  }
}

// One block for each tile of keys and each group; there may be more.
template <int D>
__global__ void __launch_bounds__(HopperBackward<D>::kThreads, 1)
    gradientsHopper(Backward<BFloat16> a, QuerySums sums, const __grid_constant__ TensorMap keyMap,
                    const __grid_constant__ TensorMap valueMap, const __grid_constant__ TensorMap queryMap,
                    const __grid_constant__ TensorMap dOutMap) {
#if CD_HOPPER
  using Shape = HopperBackward<D>;
  constexpr int kQueries = Shape::kQueries, kColumns = Shape::kColumns, kSumColumns = Shape::kSumColumns;
  auto& tiles = dynamicShared<typename Shape::Tiles>();
  if (threadIdx.x == 0) {
    tiles.ticket = takeTicket(sums.tickets());
    initBarrier(tiles.keysFull, 1);
    initBarrier(tiles.dqFull, Shape::kConsumerWarps);
    initBarrier(tiles.dqEmpty, 1);
    for (int stage = 0; stage < Shape::kStages; ++stage) {
      initBarrier(tiles.qFull[stage], 1 + kRowThreads);
      initBarrier(tiles.dOutFull[stage], 1);
      initBarrier(tiles.qEmpty[stage], Shape::kConsumerWarps);
      initBarrier(tiles.dOutEmpty[stage], Shape::kConsumerWarps);
    }
  }
  fenceBarriers();
  __syncthreads();
  const int pieces = a.keyPieces.pieces[a.keyPieces.count];
  if (pieces == 0 || tiles.ticket / pieces >= a.groups) return;
  const int group = tiles.ticket / pieces;
  const Piece piece = findPiece<Shape::kKeys>(a.keyPieces, pieces - 1 - tiles.ticket % pieces);
  const QueryWalk<D> walk(a, piece, group);

  if (threadIdx.x < kWarpgroup) {
    giveRegisters<24>();
    if (threadIdx.x == 0) copyTiles<D>(tiles, walk, group, keyMap, valueMap, queryMap, dOutMap);
    if (threadIdx.x == 32) addQueries<D>(tiles, a, walk, sums);
    if (threadIdx.x >= kWarpgroup - kRowThreads) copyRowSums<D>(tiles, a, walk, static_cast<int>(threadIdx.x) % kRowThreads);
    return;
  }
  takeRegisters<240>();
  const int thread = static_cast<int>(threadIdx.x) - kWarpgroup, lane = laneIndex();
  const int warpgroup = __shfl_sync(kAllLanes, thread / kWarpgroup, 0);
  const int keys = D == 256 ? 0 : warpgroup * 64;                             // the warpgroup's 64 keys,
  const int columns = D == 256 ? warpgroup * kColumns : 0;                    // columns of dk and dv,
  const int sumRows = D == 64 ? warpgroup * 64 : 0;                           // 64 rows of dq
  const int sumColumns = D == 64 ? 0 : warpgroup * kSumColumns;               // and columns of it
  const int warpKey = keys + thread / 32 % 4 * 16, key = warpKey + lane / 4;  // and the one eight below
  const int sumRow = sumRows + thread / 32 % 4 * 16 + lane / 4;
  const int sums0 = sumRow * D + sumColumns + sumPlace(walk.start + sumRow, 0, lane % 4);  // where the thread's part 0 of dq lies
  const auto release = [&](PhaseBarrier& empty) {
    if (lane == 0) arrive(empty);
  };
  const auto clear = [&](auto& tile, int row) {
    tile.template clear<Shape::kConsumers>(row, thread);
    fenceAsync();
    syncThreads(1, Shape::kConsumers);
  };

  const float scale = a.scale * kLog2E;
  QueryStep<D> step(walk);
  float dk[kColumns / 8][4] = {}, dv[kColumns / 8][4] = {};

  // Keys by queries: rows of the block's tile of keys or values with one of queries or dOut.
  const auto multiplyTiles = [&](float (&product)[kQueries / 8][4], const typename Shape::Keys& left,
                                 typename Shape::Queries& right, PhaseBarrier& full) {
    waitPhase(full, step.round());
    const int rows = step.rows(walk);
    if (rows < kQueries) clear(right, rows);
    fenceProducts();
#pragma unroll
    for (int d = 0; d < D; d += 16)
      warpgroupMma<kQueries, Operand::AlongK, Operand::AlongK>(product, left.alongColumns(keys, d), right.alongColumns(0, d),
                                                               d > 0);
    commitProducts();
  };
  // sums += packed operands, keys by queries, times a tile of queries.
  const auto accumulateKeys = [&](float (&sum)[kColumns / 8][4], const uint32_t (&left)[kQueries / 16][4],
                                  const typename Shape::Queries& right) {
#pragma unroll
    for (int query = 0; query < kQueries; query += 16)
      warpgroupMma<kColumns, Operand::AcrossK>(sum, left[query / 16], right.alongRows(query, columns), true);
    commitProducts();
  };

  waitPhase(tiles.keysFull, 0);
  if (piece.rows < Shape::kKeys) {
    clear(tiles.k, piece.rows);
    clear(tiles.v, piece.rows);
  }
  holdRegisters(dk);
  holdRegisters(dv);
  for (; step.number < walk.steps; step.next(walk)) {
    const int stage = step.stage();
    float p[kQueries / 8][4], ds[kQueries / 8][4], dq[kSumColumns / 8][4];
    uint32_t packed[kQueries / 16][4], packedDs[kQueries / 16][4];
    multiplyTiles(p, tiles.k, tiles.q[stage], tiles.qFull[stage]);
    if constexpr (Shape::kStages > 1) {
      waitProducts<1>();  // dk of the step before
      if (step.number > 0) release(tiles.qEmpty[stage ^ 1]);
    }
    multiplyTiles(ds, tiles.v, tiles.dOut[stage], tiles.dOutFull[stage]);
    waitProducts<1>();
    holdRegisters(p);
    // Tiles whose queries all see all keys of the warp need no mask.
    const int firstSeen = walk.firstKey + warpKey;
    if (step.firstQuery < firstSeen + 15 || (a.window > 0 && step.firstQuery + kQueries - 1 >= firstSeen + a.window)) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        // The columns that see the key, counted from the thread's own first one.
        const int first = walk.firstKey + key + 8 * half - step.firstQuery - fragmentColumn(0, 0);
        const int last = a.window > 0 ? first + a.window - 1 : kQueries;
#pragma unroll
        for (int j = 0; j < kQueries / 8; ++j)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            if (j * 8 + i < first || j * 8 + i > last) p[j][2 * half + i] = -INFINITY;
      }
    }
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
      const float2 offset = *reinterpret_cast<const float2*>(&tiles.offset[stage][fragmentColumn(j, 0)]);
#pragma unroll
      for (int i = 0; i < 4; ++i) p[j][i] = exp2Fast(fmaf(p[j][i], scale, i % 2 ? offset.y : offset.x));
    }
    packOperands(packed, p);
    fenceProducts();
    accumulateKeys(dv, packed, tiles.dOut[stage]);
    waitProducts<1>();
    holdRegisters(ds);
#pragma unroll
    for (int j = 0; j < kQueries / 8; ++j) {
      const float2 delta = *reinterpret_cast<const float2*>(&tiles.delta[stage][fragmentColumn(j, 0)]);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        ds[j][i] = unpackBFloat16(packed[j / 2][j % 2 * 2 + i / 2], i % 2) * (ds[j][i] - (i % 2 ? delta.y : delta.x));
    }
    packOperands(packedDs, ds);
    if (D < 256 || warpgroup == 0) {
      const int place = step.number % 2 * static_cast<int>(sizeof tiles.ds[0]) + swizzled(key, lane % 4 * 4);  // of j = 0
#pragma unroll
      for (int j = 0; j < kQueries / 8; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          *reinterpret_cast<uint32_t*>(tiles.ds[0].panels[j / 8] + (place ^ j % 8 * 16) + half * 8 * kSwizzleRow) =
              packedDs[j / 2][j % 2 * 2 + half];
    }
    fenceAsync();
    syncThreads(2, Shape::kConsumers);
    if constexpr (D == 256) waitProducts<0>();  // dv's operands make room for dq
    fenceProducts();
#pragma unroll
    for (int k = 0; k < Shape::kKeys; k += 16)
      warpgroupMma<kSumColumns, Operand::AcrossK, Operand::AcrossK>(dq, tiles.ds[step.number % 2].alongRows(k, sumRows),
                                                                    tiles.k.alongRows(k, sumColumns), k > 0);
    commitProducts();
    accumulateKeys(dk, packedDs, tiles.q[stage]);
    waitProducts<1>();
    holdRegisters(dq);
    release(tiles.dOutEmpty[stage]);

    // To who adds them to the sums of other blocks.
    waitPhase(tiles.dqEmpty, step.number % 2 ^ 1);
#pragma unroll
    for (int part = 0; part < kSumColumns / 16; ++part)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float (&first)[4] = dq[2 * part], (&second)[4] = dq[2 * part + 1];
        *reinterpret_cast<float4*>(&tiles.dq[(sums0 ^ part % 2 * 16) + part / 2 * 32 + half * 8 * D]) =
            make_float4(first[2 * half], first[2 * half + 1], second[2 * half], second[2 * half + 1]);
      }
    fenceAsync();
    __syncwarp();
    release(tiles.dqFull);
    if constexpr (Shape::kStages == 1) {
      waitProducts<0>();
      release(tiles.qEmpty[0]);
    }
  }
  waitProducts<0>();
  holdRegisters(dk);
  holdRegisters(dv);

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (key + 8 * half >= piece.rows) continue;
    const int64_t row = (int64_t{walk.start} + walk.firstKey + key + 8 * half) * a.groups + group;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int column = columns + fragmentColumn(j, 0);
      storePair(a.dk[row] + column, dk[j][2 * half] * a.scale, dk[j][2 * half + 1] * a.scale);
      storePair(a.dv[row] + column, dv[j][2 * half], dv[j][2 * half + 1]);
    }
  }
#endif
}

static __global__ void __launch_bounds__(kBackwardThreads) clearTurns(int32_t* turns, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * kBackwardThreads + threadIdx.x;
  if (i < count) turns[i] = 0;
}

// dq from its sums. A warp for each row.
template <int D>
__global__ void __launch_bounds__(kBackwardThreads) roundQueries(Backward<BFloat16> a, QuerySums sums) {
  const int64_t row = int64_t{blockIdx.x} * kBackwardWarps + warpIndex();
  if (row >= sums.tokens * sums.H || !a.keyPieces.fit()) return;
  const int64_t token = row / sums.H;
  const float* source = sums.dq + sums.row(static_cast<int>(row % sums.H), token) * D;
  for (int i = laneIndex(); i < D / 4; i += 32) {
    const int part = i / 4, pair = i % 4;
    const float4 sum = *reinterpret_cast<const float4*>(source + sumPlace(token, part, pair));
    BFloat16* target = a.dq[row] + part * 16 + pair * 2;
    storePair(target, sum.x * a.scale, sum.y * a.scale);
    storePair(target + 8, sum.z * a.scale, sum.w * a.scale);
  }
}

// How much scratch memory the sums of dq and their turns take, in words of 4 bytes.
inline int64_t querySumWords(int64_t tokens, int64_t H, int64_t D) { return tokens * H * (D + 1) + 4; }

template <int D>
void launchHopperBackward(const Call& call, const Backward<BFloat16>& a, int32_t* memory) {
  using Shape = HopperBackward<D>;
  const int64_t tokens = call[0].shape[0], H = call[0].shape[1], documents = a.keyPieces.count;
  const QuerySums sums{reinterpret_cast<float*>(memory), memory + tokens * H * D, tokens, H};
  const int64_t turns = tokens * H + 1;
  const unsigned rowBlocks = static_cast<unsigned>(ceilDiv(tokens * H, kBackwardWarps));
  launch(call, static_cast<unsigned>(ceilDiv(turns, kBackwardThreads)), kBackwardThreads, 0, clearTurns, sums.turns, turns);
  launch(call, mostPieces(tokens, 1, documents, Shape::kKeys) * static_cast<unsigned>(a.groups), Shape::kThreads,
         sizeof(typename Shape::Tiles), gradientsHopper<D>, a, sums, headMap<Shape::kKeys>(call[1]),
         headMap<Shape::kKeys>(call[2]), headMap<Shape::kQueries>(call[0]), headMap<Shape::kQueries>(call[6]));
  launch(call, rowBlocks, kBackwardThreads, 0, roundQueries<D>, a, sums);
}

}  // namespace cd::cuda::attend
