// Decoding: sequences with one query token each. A block reads one split of a sequence's keys for one group, its heads as the
// rows of a tile; then the splits of every head are joined in order. The length of a split is fixed, so what else is in the batch
// does not matter.
#pragma once

#include "cuda_forward.h"

namespace cd::cuda::attend {

constexpr int kSplit = 1024;     // keys
constexpr int kDecodeRows = 16;  // heads of a tile: one warp

// What one split found for one head: [B, H, splits].
struct Splits {
  float* output;    // [.., D], not divided by the sum yet
  float2* softmax;  // [..]: greatest score and sum
  int count;

  __device__ int64_t place(int sequence, int head, int queryHeads, int split) const {
    return (int64_t{sequence} * queryHeads + head) * count + split;
  }
};

inline int splitsFor(int64_t mostKeys) { return static_cast<int>(ceilDiv(mostKeys, kSplit)); }

template <int D, class C>
__global__ void __launch_bounds__(32) attendSplits(Forward<BFloat16, PagedKeys, C> a, Splits splits, int groups) {
  const int sequence = static_cast<int>(blockIdx.x), group = static_cast<int>(blockIdx.y) % groups;
  const int split = static_cast<int>(blockIdx.z), firstHead = static_cast<int>(blockIdx.y) / groups * kDecodeRows;
  if (!a.documents.fit() || a.documents.queries(sequence) != 1) return;
  const int rowCount = min(kDecodeRows, a.documents.heads - firstHead);
  const Piece piece{sequence, firstHead, rowCount, 1, a.documents.keys(sequence) - 1};
  const int from = max(a.firstKey(piece.firstPosition) / kTile, split * (kSplit / kTile));
  const int to = min(piece.firstPosition / kTile + 1, (split + 1) * (kSplit / kTile));
  if (from >= to) return;
  RowPair<D> rows;
  attendTiles(dynamicShared<ForwardTiles<D, 1>>(), a, piece, group, from, to, rows);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = fragmentRow(2 * half);
    if (row >= rowCount) continue;
    const int64_t place = splits.place(sequence, a.head(piece, row, group), a.queryHeads, split);
    if (laneIndex() % 4 == 0) splits.softmax[place] = make_float2(rows.softmax[half].most, rows.softmax[half].sum);
#pragma unroll
    for (int j = 0; j < D / 8; ++j)
      *reinterpret_cast<float2*>(splits.output + place * D + fragmentColumn(j, 0)) =
          make_float2(rows.o[j][2 * half], rows.o[j][2 * half + 1]);
  }
}

constexpr int kJoinWarps = 4;

// One warp for each sequence and head.
template <int D, class C>
__global__ void __launch_bounds__(32 * kJoinWarps) joinSplits(Forward<BFloat16, PagedKeys, C> a, Splits splits) {
  const int64_t index = int64_t{blockIdx.x} * kJoinWarps + warpIndex();
  const int sequence = static_cast<int>(index / a.queryHeads), head = static_cast<int>(index % a.queryHeads);
  if (sequence >= a.documents.count || !a.documents.fit() || a.documents.queries(sequence) != 1) return;
  const int position = a.documents.keys(sequence) - 1;
  Softmax joint;
  float o[D / 32] = {};
  for (int split = a.firstKey(position) / kSplit; split <= position / kSplit; ++split) {
    const int64_t place = splits.place(sequence, head, a.queryHeads, split);
    const float2 part = splits.softmax[place];
    const float shrink = joint.grow(part.x), weight = joint.weight(part.x);
    joint.sum = joint.sum * shrink + part.y * weight;
#pragma unroll
    for (int i = 0; i < D / 32; ++i) o[i] = o[i] * shrink + splits.output[place * D + laneIndex() + 32 * i] * weight;
  }
  const float shrink = a.sinks ? joint.joinSink(a.sinks[head]) : 1.0f;
  BFloat16* out = a.o[int64_t{a.documents.bounds[sequence]} * a.queryHeads + head];
#pragma unroll
  for (int i = 0; i < D / 32; ++i) out[laneIndex() + 32 * i] = fromFloat<BFloat16>(o[i] * (shrink / joint.sum));
}

}  // namespace cd::cuda::attend
