// Three kernels, so that every sum has one order: Σ do·o of each row; dq, a block for each piece of queries, along the keys;
// dk and dv, a block for each tile of keys, along the queries of all heads of the group. Both make the probabilities anew.
#pragma once

#include "cuda_documents.h"
#include "cuda_tile.h"

namespace cd::cuda::attend {

constexpr int kBackwardWarps = 4, kBackwardThreads = 32 * kBackwardWarps;

template <class T>
struct Backward {
  Documents queryPieces;  // pieces of rows (query, head)
  Documents keyPieces;    // pieces of keys
  HeadRows<const T> q, k, v, dOut;
  HeadRows<T> dq, dk, dv;
  const float *lse, *delta;  // [T, H]
  float scale;
  int window, queryHeads, groups;

  // Row (query, head) of a document, for the heads of a group.
  __device__ int64_t queryRow(int document, int row, int group) const {
    const int heads = queryPieces.heads;
    return (int64_t{queryPieces.bounds[document]} + row / heads) * queryHeads + group * heads + row % heads;
  }
  __device__ int64_t keyRow(int document, int key, int group) const {
    return (int64_t{queryPieces.bounds[document]} + key) * groups + group;
  }
  __device__ bool sees(int query, int key) const { return key <= query && (window == 0 || key > query - window); }
  __device__ int firstKey(int query) const { return window == 0 ? 0 : max(0, query - window + 1); }
  // One more than the last query that sees a key.
  __device__ int endOfQueries(int key, int queries) const { return window == 0 ? queries : min(queries, key + window); }
  __device__ float probability(float product, float lse) const { return exp2f((product * scale - lse) * kLog2E); }
};

// delta [rows]: Σ do·o. A warp for each row.
template <class T>
__global__ void __launch_bounds__(kBackwardThreads)
    sumOutputs(HeadRows<const T> dOut, HeadRows<const T> o, float* delta, int64_t rows, int D) {
  const int64_t row = int64_t{blockIdx.x} * kBackwardWarps + warpIndex();
  if (row >= rows) return;
  float sum = 0;
  for (int d = laneIndex(); d < D; d += 32) sum = fmaf(toFloat(dOut[row][d]), toFloat(o[row][d]), sum);
  sum = warpSum(sum);
  if (laneIndex() == 0) delta[row] = sum;
}

// --- on tensor cores --------------------------------------------------------------------------------------------------------

// Starts copying rows of two tensors whose rows lie alike: place(i) is where row i of a tile lies, −1 for a row of zeros.
template <int D, class Place>
__device__ __forceinline__ void copyPair(TileRow<D>* firstTile, const HeadRows<const BFloat16>& first, TileRow<D>* secondTile,
                                         const HeadRows<const BFloat16>& second, Place&& place) {
  const auto copy = [&](TileRow<D>* tile, const HeadRows<const BFloat16>& all) {
    copyRows<D, kBackwardThreads>(tile, kTile, all.data, [&](int i) -> const BFloat16* {
      const int64_t row = place(i);
      return row < 0 ? nullptr : all[row];
    });
  };
  copy(firstTile, first);
  copy(secondTile, second);
}

template <int D>
struct QueryTiles {
  TileRow<D> q[kTile], dOut[kTile];
  TileRow<D> k[2][kTile], v[2][kTile];
};

// kColumns columns of dq of 64 rows, from column blockIdx.z · kColumns on: all 256 would not fit into registers. Fragment
// elements 0 and 1 belong to a thread's first row, 2 and 3 to its second one.
template <int D, int kColumns>
__global__ void __launch_bounds__(kBackwardThreads) queryGradients(Backward<BFloat16> a) {
  const Piece piece = findPiece<kTile>(a.queryPieces, blockIdx.x);
  if (piece.document < 0) return;
  auto& tiles = dynamicShared<QueryTiles<D>>();
  const int group = static_cast<int>(blockIdx.y), column = static_cast<int>(blockIdx.z) * kColumns;
  const int warp = warpIndex(), heads = a.queryPieces.heads;
  const auto queryPlace = [&](int i) {
    return i < piece.rows ? a.queryRow(piece.document, piece.firstRow + i, group) : int64_t{-1};
  };
  const auto copyKeys = [&](int tile, int stage) {
    copyPair<D>(tiles.k[stage], a.k, tiles.v[stage], a.v, [&](int i) {
      const int key = tile * kTile + i;
      return key < piece.queries ? a.keyRow(piece.document, key, group) : int64_t{-1};
    });
    copyAsyncCommit();
  };
  copyPair<D>(tiles.q, a.q, tiles.dOut, a.dOut, queryPlace);

  int query[2];
  float lse[2], delta[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + fragmentRow(2 * half);
    const int64_t place = queryPlace(row);
    query[half] = place < 0 ? -1 : (piece.firstRow + row) / heads;  // −1 sees nothing
    lse[half] = place < 0 ? 0 : a.lse[place];
    delta[half] = place < 0 ? 0 : a.delta[place];
  }
  float dq[kColumns / 8][4] = {};
  const int from = a.firstKey(piece.firstRow / heads) / kTile, to = (piece.firstRow + piece.rows - 1) / heads / kTile + 1;
  copyKeys(from, 0);
  for (int tile = from; tile < to; ++tile) {
    const int stage = (tile - from) % 2;
    if (tile + 1 < to) copyKeys(tile + 1, 1 - stage);
    else copyAsyncCommit();
    copyAsyncWait<1>();
    __syncthreads();
    float ds[8][4], dp[8][4];
    multiply<D>(ds, tiles.q + warp * 16, tiles.k[stage]);
    multiply<D>(dp, tiles.dOut + warp * 16, tiles.v[stage]);
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool seen = a.sees(query[i / 2], tile * kTile + fragmentColumn(j, i));
        ds[j][i] = seen ? a.probability(ds[j][i], lse[i / 2]) * (dp[j][i] - delta[i / 2]) * a.scale : 0;
      }
    accumulate<D, kColumns>(dq, ds, tiles.k[stage], column);
    __syncthreads();  // the stage is written again
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + fragmentRow(2 * half);
    if (row >= piece.rows) continue;
    BFloat16* out = a.dq[a.queryRow(piece.document, piece.firstRow + row, group)];
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) storePair(out + column + fragmentColumn(j, 0), dq[j][2 * half], dq[j][2 * half + 1]);
  }
}

template <int D>
struct KeyTiles {
  TileRow<D> k[kTile], v[kTile];
  TileRow<D> q[2][kTile], dOut[2][kTile];
  float lse[2][kTile], delta[2][kTile];
};

// kColumns columns of dk and dv of 64 keys, from column blockIdx.z · kColumns on.
template <int D, int kColumns>
__global__ void __launch_bounds__(kBackwardThreads) keyGradients(Backward<BFloat16> a) {
  const Piece piece = findPiece<kTile>(a.keyPieces, blockIdx.x);
  if (piece.document < 0) return;
  auto& tiles = dynamicShared<KeyTiles<D>>();
  const int group = static_cast<int>(blockIdx.y), column = static_cast<int>(blockIdx.z) * kColumns;
  const int warp = warpIndex(), heads = a.queryPieces.heads, firstKey = piece.firstRow;
  const int from = firstKey * heads, to = a.endOfQueries(firstKey + piece.rows - 1, piece.queries) * heads;
  const auto copyQueries = [&](int start, int stage) {
    const auto queryPlace = [&](int i) { return start + i < to ? a.queryRow(piece.document, start + i, group) : int64_t{-1}; };
    copyPair<D>(tiles.q[stage], a.q, tiles.dOut[stage], a.dOut, queryPlace);
    const int i = static_cast<int>(threadIdx.x);
    if (i < kTile) {
      const int64_t place = queryPlace(i);
      tiles.lse[stage][i] = place < 0 ? 0 : a.lse[place];
      tiles.delta[stage][i] = place < 0 ? 0 : a.delta[place];
    }
    copyAsyncCommit();
  };
  copyPair<D>(tiles.k, a.k, tiles.v, a.v,
              [&](int i) { return i < piece.rows ? a.keyRow(piece.document, firstKey + i, group) : int64_t{-1}; });
  copyQueries(from, 0);

  float dk[kColumns / 8][4] = {}, dv[kColumns / 8][4] = {};
  for (int start = from; start < to; start += kTile) {
    const int stage = (start - from) / kTile % 2;
    if (start + kTile < to) copyQueries(start + kTile, 1 - stage);
    else copyAsyncCommit();
    copyAsyncWait<1>();
    __syncthreads();
    // Keys by queries.
    float p[8][4], ds[8][4];
    multiply<D>(p, tiles.k + warp * 16, tiles.q[stage]);
    multiply<D>(ds, tiles.v + warp * 16, tiles.dOut[stage]);
#pragma unroll
    for (int j = 0; j < 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = firstKey + warp * 16 + fragmentRow(i), row = start + fragmentColumn(j, i);
        const bool seen = row < to && a.sees(row / heads, key);
        p[j][i] = seen ? a.probability(p[j][i], tiles.lse[stage][fragmentColumn(j, i)]) : 0;
        ds[j][i] = seen ? p[j][i] * (ds[j][i] - tiles.delta[stage][fragmentColumn(j, i)]) * a.scale : 0;
      }
    accumulate<D, kColumns>(dv, p, tiles.dOut[stage], column);
    accumulate<D, kColumns>(dk, ds, tiles.q[stage], column);
    __syncthreads();  // the stage is written again
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int key = warp * 16 + fragmentRow(2 * half);
    if (key >= piece.rows) continue;
    const int64_t row = a.keyRow(piece.document, firstKey + key, group);
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      storePair(a.dk[row] + column + fragmentColumn(j, 0), dk[j][2 * half], dk[j][2 * half + 1]);
      storePair(a.dv[row] + column + fragmentColumn(j, 0), dv[j][2 * half], dv[j][2 * half + 1]);
    }
  }
}

// --- row by row ---------------------------------------------------------------------------------------------------------------

template <class T>
__device__ __forceinline__ void stage(float* target, const T* row, int D) {
  for (int d = laneIndex(); d < D; d += 32) target[d] = toFloat(row[d]);
}

template <class T>
__device__ __forceinline__ float dot(const float* a, const T* b, int D) {
  float sum = 0;
  for (int d = 0; d < D; ++d) sum = fmaf(a[d], toFloat(b[d]), sum);
  return sum;
}

// A warp for each row (query, head); lanes hold keys, then columns.
template <class T, int kColumns>
__global__ void __launch_bounds__(kBackwardThreads, 8) queryGradientRows(Backward<T> a, int D) {
  const Piece piece = findPiece<kBackwardWarps>(a.queryPieces, blockIdx.x);
  const int warp = warpIndex(), lane = laneIndex(), group = static_cast<int>(blockIdx.y);
  if (piece.document < 0 || warp >= piece.rows) return;
  SHARED(float[kBackwardWarps][2][32 * kColumns], rows);
  float *const q = rows[warp][0], *const dOut = rows[warp][1];
  const int query = (piece.firstRow + warp) / a.queryPieces.heads;
  const int64_t place = a.queryRow(piece.document, piece.firstRow + warp, group);
  stage(q, a.q[place], D);
  stage(dOut, a.dOut[place], D);
  __syncwarp();
  float dq[kColumns] = {};
  const int first = a.firstKey(query);
  for (int start = first; start <= query; start += 32) {
    float ds = 0;
    if (start + lane <= query) {
      const int64_t key = a.keyRow(piece.document, start + lane, group);
      const float p = a.probability(dot(q, a.k[key], D), a.lse[place]);
      ds = p * (dot(dOut, a.v[key], D) - a.delta[place]) * a.scale;
    }
    for (int other = 0; other < min(32, query - start + 1); ++other) {
      const float factor = __shfl_sync(kAllLanes, ds, other);
      const T* k = a.k[a.keyRow(piece.document, start + other, group)];
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (lane + 32 * i < D) dq[i] = fmaf(factor, toFloat(k[lane + 32 * i]), dq[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kColumns; ++i)
    if (lane + 32 * i < D) a.dq[place][lane + 32 * i] = fromFloat<T>(dq[i]);
}

// A warp for each key; lanes hold rows (query, head), then columns.
template <class T, int kColumns>
__global__ void __launch_bounds__(kBackwardThreads, 8) keyGradientRows(Backward<T> a, int D) {
  const Piece piece = findPiece<kBackwardWarps>(a.keyPieces, blockIdx.x);
  const int warp = warpIndex(), lane = laneIndex(), group = static_cast<int>(blockIdx.y), heads = a.queryPieces.heads;
  if (piece.document < 0 || warp >= piece.rows) return;
  SHARED(float[kBackwardWarps][2][32 * kColumns], rows);
  float *const k = rows[warp][0], *const v = rows[warp][1];
  const int key = piece.firstRow + warp;
  const int64_t place = a.keyRow(piece.document, key, group);
  stage(k, a.k[place], D);
  stage(v, a.v[place], D);
  __syncwarp();
  float dk[kColumns] = {}, dv[kColumns] = {};
  const int to = a.endOfQueries(key, piece.queries) * heads;
  for (int start = key * heads; start < to; start += 32) {
    float p = 0, ds = 0;
    if (start + lane < to) {
      const int64_t row = a.queryRow(piece.document, start + lane, group);
      p = a.probability(dot(k, a.q[row], D), a.lse[row]);
      ds = p * (dot(v, a.dOut[row], D) - a.delta[row]) * a.scale;
    }
    for (int other = 0; other < min(32, to - start); ++other) {
      const float weight = __shfl_sync(kAllLanes, p, other), factor = __shfl_sync(kAllLanes, ds, other);
      const int64_t row = a.queryRow(piece.document, start + other, group);
#pragma unroll
      for (int i = 0; i < kColumns; ++i)
        if (lane + 32 * i < D) {
          dv[i] = fmaf(weight, toFloat(a.dOut[row][lane + 32 * i]), dv[i]);
          dk[i] = fmaf(factor, toFloat(a.q[row][lane + 32 * i]), dk[i]);
        }
    }
  }
#pragma unroll
  for (int i = 0; i < kColumns; ++i)
    if (lane + 32 * i < D) {
      a.dk[place][lane + 32 * i] = fromFloat<T>(dk[i]);
      a.dv[place][lane + 32 * i] = fromFloat<T>(dv[i]);
    }
}

}  // namespace cd::cuda::attend
