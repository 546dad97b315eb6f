// The one matrix product of the CPU back end. Every output element is a chain of multiply-adds over K from its start, cut
// into blocks of kBlock elements whose sums are added in order. Lanes run along N and never meet, so an element's bits
// depend on its row of A and its column of B alone: not on M, N, the tile, the thread count, nor (in f32) the vector width.
#pragma once

#include <algorithm>

#include "panel.h"

namespace cd::units {

template <class U>
constexpr int64_t kBlock = 256 * kPerUnit<U>;  // elements of K summed in one chain: a packed panel of it fits the L1 cache
#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#else
constexpr int kTileRows = 6;
#endif

inline int64_t blockCount(int64_t K, int64_t block) { return std::max<int64_t>(1, (K + block - 1) / block); }

// Rows of units; the k-th block of kBlock elements of K starts blockBytes·k into the row.
struct Left {
  const void* data;
  int64_t rowBytes;
  int64_t blockBytes;
  const char* at(int64_t row, int64_t block) const {
    return static_cast<const char*>(data) + row * rowBytes + block * blockBytes;
  }
};

// out[row][column] = Σ over `units` of a[row][unit] · panel[unit][column], for Rows rows and one panel. With Continue the sums
// go on from what `out` holds: a chain cut in two calls gives the bits of one.
template <class U, int Rows, bool Continue>
inline void multiplyTile(const char* a, int64_t rowBytes, const U* panel, int64_t units, float* out, int64_t outStride) {
  Vec sums[Rows][kVectors];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[row][v] = Continue ? load(out + row * outStride + v * kWidth) : Vec{};
  for (int64_t unit = 0; unit < units; ++unit, a += 4, panel += kPanel) {
    UVec right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = loadUnits(panel + v * kWidth);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const UVec left = broadcast(a + row * rowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[row][v] = multiplyAdd<U>(left, right[v], sums[row][v]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(out + row * outStride + v * kWidth, sums[row][v]);
}

template <class U, bool Continue = false>
inline void multiplyRows(int64_t rows, const void* left, int64_t rowBytes, const U* panel, int64_t units, float* out,
                         int64_t outStride = kPanel) {
  const char* a = static_cast<const char*>(left);
  switch (rows) {
    case 1:
      return multiplyTile<U, 1, Continue>(a, rowBytes, panel, units, out, outStride);
    case 2:
      return multiplyTile<U, 2, Continue>(a, rowBytes, panel, units, out, outStride);
    case 3:
      return multiplyTile<U, 3, Continue>(a, rowBytes, panel, units, out, outStride);
    case 4:
      return multiplyTile<U, 4, Continue>(a, rowBytes, panel, units, out, outStride);
    case 5:
      return multiplyTile<U, 5, Continue>(a, rowBytes, panel, units, out, outStride);
    case 6:
      return multiplyTile<U, 6, Continue>(a, rowBytes, panel, units, out, outStride);
    case 7:
      return multiplyTile<U, 7, Continue>(a, rowBytes, panel, units, out, outStride);
    default:
      return multiplyTile<U, kTileRows, Continue>(a, rowBytes, panel, units, out, outStride);
  }
}

// Part of a product that one task computes: rows [rowFrom, rowTo), panels [panelFrom, panelTo) of B's N columns.
struct Part {
  int64_t rowFrom, rowTo, panelFrom, panelTo;
};

// Floats of workspace that multiplyPart needs.
template <class U>
inline int64_t workspaceSize(int64_t rows, int64_t panels, int64_t K) {
  return kBlock<U> / kPerUnit<U> * kPanel + (blockCount(K, kBlock<U>) > 1 ? rows * panels * kPanel : 0);
}

// pack(block, panel, target) packs block `block` of K of panel `panel` of B. emit(row, column, columns, values) takes the
// finished sums of A's row `row` for B's columns [column, column + columns), columns ≤ kPanel; values has room to kPanel.
template <class U, class Pack, class Emit>
inline void multiplyPart(const Left& a, const Part& part, int64_t N, int64_t K, float* workspace, Pack&& pack, Emit&& emit) {
  U* const panel = reinterpret_cast<U*>(workspace);
  float* const partial = workspace + kBlock<U> / kPerUnit<U> * kPanel;
  const int64_t blocks = blockCount(K, kBlock<U>), rows = part.rowTo - part.rowFrom;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t units = unitCount<U>(std::min(K - block * kBlock<U>, kBlock<U>));
    for (int64_t p = part.panelFrom; p < part.panelTo; ++p) {
      pack(block, p, panel);
      float* sums = partial + (p - part.panelFrom) * rows * kPanel;
      for (int64_t row = part.rowFrom; row < part.rowTo; row += kTileRows, sums += kTileRows * kPanel) {
        const int64_t count = std::min<int64_t>(kTileRows, part.rowTo - row);
        alignas(64) float tile[kTileRows * kPanel];
        multiplyRows<U>(count, a.at(row, block), a.rowBytes, panel, units, tile);
        if (block > 0)
          for (int64_t i = 0; i < count * kPanel; i += kWidth) store(tile + i, load(sums + i) + load(tile + i));
        if (block + 1 < blocks) {
          for (int64_t i = 0; i < count * kPanel; i += kWidth) store(sums + i, load(tile + i));
        } else {
          const int64_t columns = std::min<int64_t>(kPanel, N - p * kPanel);
          for (int64_t i = 0; i < count; ++i) emit(row + i, p * kPanel, columns, tile + i * kPanel);
        }
      }
    }
  }
}

// How a product is cut into tasks. It changes no bit of the result.
struct Tasks {
  int64_t rows, panels;          // of one task
  int64_t rowTasks, panelTasks;  // how many
  Tasks(int64_t M, int64_t N, int workers) {
    const int64_t allPanels = panelCount(N);
    rowTasks = (M + 255) / 256;
    rows = rowTasks ? (M + rowTasks - 1) / rowTasks : 0;
    rows = (rows + kTileRows - 1) / kTileRows * kTileRows;
    rowTasks = rows ? (M + rows - 1) / rows : 0;
    panels = std::clamp<int64_t>(rowTasks * allPanels / (int64_t{4} * workers), 1, 8);
    panelTasks = (allPanels + panels - 1) / panels;
  }
  int64_t count() const { return rowTasks * panelTasks; }
  Part part(int64_t task, int64_t M, int64_t N) const {
    const int64_t row = task % rowTasks * rows, panel = task / rowTasks * panels;
    return {row, std::min(row + rows, M), panel, std::min(panel + panels, panelCount(N))};
  }
};

}  // namespace cd::units
