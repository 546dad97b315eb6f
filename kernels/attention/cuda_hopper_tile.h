// Tiles of bf16 rows as the copy engine brings them and the products of warpgroups take them: what the attention kernels for
// Hopper are made of.
#pragma once

#include "../common/cuda_hopper.h"
#include "../common/cuda_wgmma.h"
#include "cuda_documents.h"

namespace cd::cuda::attend {

// [kRows, kColumns], in panels of 64 columns.
template <int kRows, int kColumns>
struct SwizzledTile {
  static constexpr int kPanels = kColumns / 64, kPanelBytes = kRows * kSwizzleRow, kBytes = kPanels * kPanelBytes;
  alignas(kSwizzleAlignment) char panels[kPanels][kPanelBytes];

  __device__ __forceinline__ void* at(int row, int column) { return panels[column / 64] + swizzled(row, column % 64 * 2); }
  // Operands: rows from `row` on by columns column … column + 15, which are summed over …
  __device__ __forceinline__ uint64_t alongColumns(int row, int column) const {
    return advanced(alongK(panels[0] + row * kSwizzleRow, 0), column / 64 * kPanelBytes + column % 64 * 2);
  }
  // … or rows row … row + 15, which are summed over, by columns from `column` on, a multiple of 64.
  __device__ __forceinline__ uint64_t alongRows(int row, int column) const {
    return advanced(acrossK(panels[0] + column / 64 * kPanelBytes, 0, kPanelBytes), row * kSwizzleRow);
  }

  // Starts the copy of rows from `row` of head `head` on, by one thread that has announced kBytes.
  __device__ __forceinline__ void load(const TensorMap& map, int row, int head, PhaseBarrier& barrier) {
    for (int panel = 0; panel < kPanels; ++panel) {
      const int at[3] = {panel * 64, head, row};
      loadTile<3>(panels[panel], map, at, barrier);
    }
  }
  // Makes rows from `row` on zeros: their copy brought the next document's, which may not be finite. By kThreads threads, of
  // which this is number `thread`; fenceAsync and a barrier follow.
  template <int kThreads>
  __device__ __forceinline__ void clear(int row, int thread) {
    constexpr int kPacks = kColumns / 8;
    for (int i = thread; i < (kRows - row) * kPacks; i += kThreads)
      *static_cast<uint4*>(at(row + i / kPacks, i % kPacks * 8)) = make_uint4(0, 0, 0, 0);
  }
};

// Of a tensor [tokens, heads, D], for tiles of kRows tokens of one head.
template <int kRows>
inline TensorMap headMap(const Tensor& tensor) {
  const int64_t heads = tensor.shape[1], D = tensor.shape[2], stride = tensor.rows() > 1 ? tensor.rowStride : D;
  return tensorMap({tensor.data, tensor.dtype, 3, {D, heads, tensor.shape[0]}, {1, stride, stride * heads}, {64, 1, kRows}});
}

// Left operands of the next product: sums of 16 columns at a time, rounded to bf16. A pair of column pair / 2 · 16 + pair % 2 · 8
// of row `half` of a thread's two.
template <int kParts>
__device__ __forceinline__ void packOperands(uint32_t (&operands)[kParts / 2][4], const float (&sums)[kParts][4]) {
#pragma unroll
  for (int k = 0; k < kParts / 2; ++k)
#pragma unroll
    for (int part = 0; part < 4; ++part)
      operands[k][part] = packBFloat16(sums[2 * k + part / 2][part % 2 * 2], sums[2 * k + part / 2][part % 2 * 2 + 1]);
}

}  // namespace cd::cuda::attend
