// Tiles of bf16 rows in shared memory, and products of them on tensor cores: what the attention kernels are made of. A warp
// owns 16 rows of the left operand; C fragments of one product are the A fragments of the next one.
#pragma once

#include "../common/cuda_copy.h"
#include "../common/cuda_fragment.h"
#include "../common/fp8.h"

namespace cd::cuda::attend {

constexpr int kTile = 64;  // rows of a right operand

// Eight more than D, so that the eight rows of a matrix start in different banks.
template <int D>
using TileRow = BFloat16[D + 8];

// Starts copying rows: row(i) gives the address of row i, or null, for 0 ≤ i < count; rows without one become 0.
template <int D, int kThreads, class Row>
__device__ __forceinline__ void copyRows(TileRow<D>* tile, int count, const BFloat16* valid, Row&& row) {
  constexpr int kPacks = D / 8;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < count * kPacks; i += kThreads) {
    const BFloat16* source = row(i / kPacks);
    const int column = i % kPacks * 8;
    copyAsync16(&tile[i / kPacks][column], source ? source + column : valid, source ? 16 : 0);
  }
}

// The same with rows of fp8, widened on the way: they are there when it returns.
template <int D, int kThreads, class Row>
__device__ __forceinline__ void widenRows(TileRow<D>* tile, int count, Row&& row) {
  constexpr int kColumns = Pack<Float8>::kCount, kPacks = D / kColumns;
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < count * kPacks; i += kThreads) {
    const Float8* source = row(i / kPacks);
    const int column = i % kPacks * kColumns;
    const Pack<Float8> codes = source ? loadPack(source + column) : Pack<Float8>{};
#pragma unroll
    for (int part = 0; part < kColumns; part += Pack<BFloat16>::kCount) {
      Pack<BFloat16> wide;
#pragma unroll
      for (int j = 0; j < Pack<BFloat16>::kCount; ++j) wide.value[j] = toBFloat16(toFloat(codes.value[part + j]));
      storePack(&tile[i / kPacks][column + part], wide);
    }
  }
}

// c [16, 64] = rows of the warp, a [16, D], times b [64, D] transposed.
template <int D>
__device__ __forceinline__ void multiply(float (&c)[8][4], const TileRow<D>* a, const TileRow<D>* b) {
  const int lane = laneIndex();
#pragma unroll
  for (int j = 0; j < 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) c[j][i] = 0;
#pragma unroll 2
  for (int d = 0; d < D; d += 16) {
    uint32_t left[4];
    loadMatrix<4>(left, &a[lane % 16][d + lane / 16 * 8]);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      uint32_t right[2][2];
      loadMatrix<4>(&right[0][0], &b[j * 8 + lane / 16 * 8 + lane % 8][d + lane / 8 % 2 * 8]);
      mma(c[j], left, right[0]);
      mma(c[j + 1], left, right[1]);
    }
  }
}

// c [16, kColumns] += weights [16, 64], rounded to bf16, times b [64, from `column` on].
template <int D, int kColumns>
__device__ __forceinline__ void accumulate(float (&c)[kColumns / 8][4], const float (&weights)[8][4], const TileRow<D>* b,
                                           int column = 0) {
  const int lane = laneIndex();
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const float (&first)[4] = weights[2 * k], (&second)[4] = weights[2 * k + 1];
    const uint32_t left[4] = {packBFloat16(first[0], first[1]), packBFloat16(first[2], first[3]),
                              packBFloat16(second[0], second[1]), packBFloat16(second[2], second[3])};
#pragma unroll
    for (int j = 0; j < kColumns / 8; j += 2) {
      uint32_t right[2][2];
      loadMatrix<4, true>(&right[0][0], &b[k * 16 + lane % 16][column + j * 8 + lane / 16 * 8]);
      mma(c[j], left, right[0]);
      mma(c[j + 1], left, right[1]);
    }
  }
}

}  // namespace cd::cuda::attend
