// Attention of one piece of queries to its keys: on tensor cores, tile by tile, and row by row for what they do not take (f32,
// other head sizes, rows not aligned to 16 bytes).
//
// The softmax runs along (Milakov & Gimelshein 2018; Dao et al. 2022): a maximum, a sum and an output so far, shrunk whenever
// the maximum grows. Scores are held in powers of two. Keys that a row does not see leave its state as it is, bit for bit, so a
// row does not depend on which rows share its tile.
#pragma once

#include "cuda_documents.h"
#include "cuda_tile.h"

namespace cd::cuda::attend {

// Queries of type T, keys and values of type C.
template <class T, class Keys, class C = T>
struct Forward {
  Documents documents;
  HeadRows<const T> q;
  HeadRows<const C> k, v;
  HeadRows<T> o;
  Keys keys;
  float* lse;          // [T, H], or null
  const float* sinks;  // [H], or null
  float scale;         // of scores, times log₂ e
  int window, queryHeads;

  __device__ int query(const Piece& piece, int row) const { return (piece.firstRow + row) / documents.heads; }
  __device__ int head(const Piece& piece, int row, int group) const {
    return group * documents.heads + (piece.firstRow + row) % documents.heads;
  }
  __device__ int64_t row(const Piece& piece, int row, int group) const {
    return (int64_t{documents.bounds[piece.document]} + query(piece, row)) * queryHeads + head(piece, row, group);
  }
  __device__ int position(const Piece& piece, int row) const { return piece.firstPosition + query(piece, row); }
  // The first key that a query at this position sees.
  __device__ int firstKey(int position) const { return window == 0 ? 0 : max(0, position - window + 1); }
};

// What the softmax has seen of a row so far: the greatest score, and the sum of 2^(score − greatest).
struct Softmax {
  float most = -INFINITY, sum = 0;

  // Takes `greatest`, −∞ or the greatest of new scores, in: what the sum and the output so far shrink to.
  __device__ float grow(float greatest) {
    const float before = most;
    most = fmaxf(most, greatest);
    return before == most ? 1.0f : exp2f(before - most);
  }
  __device__ float weight(float score) const { return exp2f(score - (most == -INFINITY ? 0.0f : most)); }
  // The sink is one more score without a value.
  __device__ float joinSink(float sink) {
    const float score = sink * kLog2E, shrink = grow(score);
    sum = sum * shrink + weight(score);
    return shrink;
  }
  __device__ float lse() const { return (most + log2f(sum)) * kLn2; }
};

template <int D, int kWarps>
struct ForwardTiles {
  TileRow<D> q[16 * kWarps];
  TileRow<D> k[2][kTile], v[2][kTile];
};

// The rows of a thread: fragment elements 0 and 1 are of the first, 2 and 3 of the second one. Sums are the thread's own part.
template <int D>
struct RowPair {
  float o[D / 8][4] = {};
  Softmax softmax[2];
};

// Tiles [from, to) of the keys of one group, for the piece's rows. All threads of the block.
template <int D, int kWarps, class Keys, class C>
__device__ __forceinline__ void attendTiles(ForwardTiles<D, kWarps>& tiles, const Forward<BFloat16, Keys, C>& a,
                                            const Piece& piece, int group, int from, int to, RowPair<D>& rows) {
  constexpr int kThreads = 32 * kWarps;
  const int warp = warpIndex(), keys = a.documents.keys(piece.document);
  const auto copyTile = [&](TileRow<D>* target, const HeadRows<const C>& all, int tile) {
    const auto keyRow = [&](int i) -> const C* {
      const int key = tile * kTile + i;
      if (key >= keys) return nullptr;
      const int64_t row = a.keys.row(piece.document, key, group);
      return row < 0 ? nullptr : all[row];
    };
    if constexpr (std::is_same_v<C, Float8>) widenRows<D, kThreads>(target, kTile, keyRow);
    else copyRows<D, kThreads>(target, kTile, all.data, keyRow);
  };
  const auto copyKeys = [&](int tile, int stage) {
    copyTile(tiles.k[stage], a.k, tile);
    copyTile(tiles.v[stage], a.v, tile);
    copyAsyncCommit();
  };
  copyRows<D, kThreads>(tiles.q, 16 * kWarps, a.q.data,
                        [&](int i) -> const BFloat16* { return i < piece.rows ? a.q[a.row(piece, i, group)] : nullptr; });
  copyKeys(from, 0);

  int last[2], first[2];  // the keys that the thread's rows see
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    last[half] = a.position(piece, warp * 16 + fragmentRow(2 * half));
    first[half] = a.firstKey(last[half]);
  }
  for (int tile = from; tile < to; ++tile) {
    const int stage = (tile - from) % 2;
    if (tile + 1 < to) copyKeys(tile + 1, 1 - stage);
    else copyAsyncCommit();
    copyAsyncWait<1>();
    __syncthreads();
    float scores[8][4];
    multiply<D>(scores, tiles.q + warp * 16, tiles.k[stage]);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Softmax& softmax = rows.softmax[half];
      float greatest = -INFINITY;
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          const int key = tile * kTile + fragmentColumn(j, i);
          scores[j][i] = key >= first[half] && key <= last[half] ? scores[j][i] * a.scale : -INFINITY;
          greatest = fmaxf(greatest, scores[j][i]);
        }
      const float shrink = softmax.grow(rowMax(greatest));
      float sum = 0;
#pragma unroll
      for (int j = 0; j < 8; ++j)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) sum += scores[j][i] = softmax.weight(scores[j][i]);
      softmax.sum = softmax.sum * shrink + sum;
#pragma unroll
      for (int j = 0; j < D / 8; ++j)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) rows.o[j][i] *= shrink;
    }
    accumulate<D, D>(rows.o, scores, tiles.v[stage]);
    __syncthreads();  // the stage is written again
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) rows.softmax[half].sum = rowSum(rows.softmax[half].sum);
}

// One block for each piece of 16 · kWarps rows and each group.
template <int D, int kWarps, class Keys, class C>
__global__ void __launch_bounds__(32 * kWarps) attendPieces(Forward<BFloat16, Keys, C> a) {
  const Piece piece = findPiece<16 * kWarps>(a.documents, blockIdx.x);
  if (piece.document < 0) return;
  const int group = static_cast<int>(blockIdx.y);
  auto& tiles = dynamicShared<ForwardTiles<D, kWarps>>();
  RowPair<D> rows;
  attendTiles(tiles, a, piece, group, a.firstKey(a.position(piece, 0)) / kTile, a.position(piece, piece.rows - 1) / kTile + 1,
              rows);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warpIndex() * 16 + fragmentRow(2 * half);
    if (row >= piece.rows) continue;
    Softmax softmax = rows.softmax[half];
    const float shrink = a.sinks ? softmax.joinSink(a.sinks[a.head(piece, row, group)]) : 1.0f;
    const float factor = shrink / softmax.sum;
    const int64_t out = a.row(piece, row, group);
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
      storePair(a.o[out] + fragmentColumn(j, 0), rows.o[j][2 * half] * factor, rows.o[j][2 * half + 1] * factor);
    if (a.lse && laneIndex() % 4 == 0) a.lse[out] = softmax.lse();
  }
}

// --- row by row ---------------------------------------------------------------------------------------------------------------

constexpr int kRowWarps = 4;  // rows of a block: a warp each

// Lanes hold keys while scores are made, and columns d = lane + 32 · i of the output while values are added.
template <class T, int kColumns, class Keys, class C>
__global__ void __launch_bounds__(32 * kRowWarps, 8) attendRows(Forward<T, Keys, C> a, int D) {
  const Piece piece = findPiece<kRowWarps>(a.documents, blockIdx.x);
  const int row = warpIndex(), lane = laneIndex(), group = static_cast<int>(blockIdx.y);
  if (piece.document < 0 || row >= piece.rows) return;
  SHARED(float[kRowWarps][32 * kColumns], queries);
  float* const q = queries[row];
  const int64_t out = a.row(piece, row, group);
  for (int d = lane; d < D; d += 32) q[d] = toFloat(a.q[out][d]);
  __syncwarp();

  const int last = a.position(piece, row), first = a.firstKey(last);
  Softmax softmax;
  float o[kColumns] = {};
  for (int start = first / 32 * 32; start <= last; start += 32) {
    const int key = start + lane;
    int64_t keyRow = key >= first && key <= last ? a.keys.row(piece.document, key, group) : -1;
    float score = -INFINITY;
    if (keyRow >= 0) {
      const C* k = a.k[keyRow];
      score = 0;
      for (int d = 0; d < D; ++d) score = fmaf(q[d], toFloat(k[d]), score);
      score *= a.scale;
    }
    const float shrink = softmax.grow(warpMax(score)), weight = softmax.weight(score);
    softmax.sum = softmax.sum * shrink + warpSum(weight);
#pragma unroll
    for (int i = 0; i < kColumns; ++i) o[i] *= shrink;
    for (int other = max(0, first - start); other < min(32, last - start + 1); ++other) {
      const float p = __shfl_sync(kAllLanes, weight, other);
      const int64_t valueRow = __shfl_sync(kAllLanes, keyRow, other);
      if (valueRow < 0) continue;
      const C* v = a.v[valueRow];
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (lane + 32 * i < D) o[i] = fmaf(p, toFloat(v[lane + 32 * i]), o[i]);
    }
  }
  const float shrink = a.sinks ? softmax.joinSink(a.sinks[a.head(piece, row, group)]) : 1.0f;
#pragma unroll
  for (int i = 0; i < kColumns; ++i)
    if (lane + 32 * i < D) a.o[out][lane + 32 * i] = fromFloat<T>(o[i] * (shrink / softmax.sum));
  if (a.lse && lane == 0) a.lse[out] = softmax.lse();
}

}  // namespace cd::cuda::attend
