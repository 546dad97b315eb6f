// The one matrix product of the CPU back end. Every output element is a chain of multiply-adds over K from its start, cut
// into blocks of kBlock elements whose sums are added in order. Lanes run along N and never meet, so an element's bits
// depend on its row of A and its column of B alone: not on M, N, the tile, the thread count, nor (in f32) the vector width.
#pragma once

#include <algorithm>

#include "panel.h"

namespace cd::units {

// Elements of K summed in one chain: a packed panel of that depth takes 64 KiB, a part of the L2 cache.
template <class U>
constexpr int64_t kBlock = 512 * kPerUnit<U>;
#if defined(__AVX512F__)
constexpr int kTileRows = 8;
#elif defined(__AVX2__)
constexpr int kTileRows = 6;
#else
constexpr int kTileRows = 4;
#endif

inline int64_t blockCount(int64_t K, int64_t block) { return std::max<int64_t>(1, (K + block - 1) / block); }

// Rows of units, cut along K into blocks of `block` ≤ kBlock elements, each blockBytes after the one before.
struct Left {
  const void* data;
  int64_t rowBytes, block, blockBytes;
  const char* at(int64_t row, int64_t index) const {
    return static_cast<const char*>(data) + row * rowBytes + index * blockBytes;
  }
};
// Rows that lie in one piece.
template <class U>
inline Left leftRows(const void* data, int64_t rowBytes) {
  return {data, rowBytes, kBlock<U>, kBlock<U> / kPerUnit<U> * 4};
}

// The right-hand matrix: [N, K] with K along memory, or [K, N] with K down its rows.
template <class T>
struct Right {
  const T* data;
  int64_t stride;
  bool along;

  const T* corner(int64_t k, int64_t column) const { return data + (along ? column * stride + k : k * stride + column); }

  // Panel `panel` of the elements [k, k + elements) of K.
  template <class U>
  void pack(int64_t k, int64_t elements, int64_t panel, int64_t N, U* target, Ahead* ahead) const {
    const int64_t column = panel * kPanel, columns = std::min<int64_t>(kPanel, N - column);
    const T* first = corner(k, column);
    const auto rowOf = [&](int64_t row) { return first + row * stride; };
    if (along) packPanelAlong<U>(rowOf, columns, elements, target, ahead);
    else packPanelAcross<U>(rowOf, columns, elements, target, ahead);
  }

  // The same panel's memory, to be asked for in the course of `steps` steps.
  Ahead ahead(int64_t k, int64_t elements, int64_t panel, int64_t steps) const {
    const int64_t rows = along ? kPanel : elements, width = along ? elements : kPanel;
    const int64_t rowLines = (width * static_cast<int64_t>(sizeof(T)) + 63) / 64, lines = rows * rowLines;
    return {reinterpret_cast<const char*>(corner(k, panel * kPanel)), stride * static_cast<int64_t>(sizeof(T)), rowLines, lines,
            (lines + steps - 1) / steps};
  }
};

// out[row][column] = Σ over `units` of a[row][unit] · panel[unit][column], for Rows rows and one panel, Vectors vectors wide.
// With Continue the sums go on from what `out` holds: a chain cut in two calls gives the bits of one. Not inlined: the compiler
// would keep what surrounds it in registers that the sums need.
template <class U, int Rows, bool Continue, int Vectors = kVectors>
[[gnu::noinline]] void multiplyTile(const char* a, int64_t rowBytes, const U* panel, int64_t units, float* out, int64_t outStride,
                                    Ahead* ahead) {
  Vec sums[Rows][Vectors];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[row][v] = Continue ? load(out + row * outStride + v * kWidth) : Vec{};
  // Rows in eights, each from a pointer of its own: addresses that fit into instructions.
  const char* eights[(Rows + 7) / 8];
#pragma GCC unroll 4
  for (int i = 0; i < (Rows + 7) / 8; ++i) eights[i] = a + i * 8 * rowBytes;
  const auto step = [&]() __attribute__((always_inline)) {
    UVec right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = loadUnits(panel + v * kWidth);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const UVec left = broadcast(eights[row / 8] + row % 8 * rowBytes);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[row][v] = multiplyAdd<U>(left, right[v], sums[row][v]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < (Rows + 7) / 8; ++i) eights[i] += 4;
    panel += Vectors * kWidth;
  };
  for (; units >= kWidth; units -= kWidth) {
    if (ahead) ahead->fetch();
    for (int unit = 0; unit < kWidth; ++unit) step();
  }
  for (; units > 0; --units) step();
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store(out + row * outStride + v * kWidth, sums[row][v]);
}

template <class U, bool Continue = false>
inline void multiplyRows(int64_t rows, const void* left, int64_t rowBytes, const U* panel, int64_t units, float* out,
                         int64_t outStride = kPanel, Ahead* ahead = nullptr) {
  const char* a = static_cast<const char*>(left);
  switch (rows) {
    case 1:
      return multiplyTile<U, 1, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 2:
      return multiplyTile<U, 2, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 3:
      return multiplyTile<U, 3, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 4:
      return multiplyTile<U, 4, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 5:
      return multiplyTile<U, 5, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 6:
      return multiplyTile<U, 6, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    case 7:
      return multiplyTile<U, 7, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
    default:
      return multiplyTile<U, kTileRows, Continue>(a, rowBytes, panel, units, out, outStride, ahead);
  }
}

// Part of a product that one task computes: rows [rowFrom, rowTo), panels [panelFrom, panelTo) of B's N columns.
struct Part {
  int64_t rowFrom, rowTo, panelFrom, panelTo;
};

// Floats of workspace that multiplyPart needs.
template <class U>
inline int64_t workspaceSize(int64_t rows, int64_t panels, int64_t K, int64_t block = kBlock<U>) {
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  return (kBlock<U> / kPerUnit<U> + (blockCount(K, block) > 1 ? tiles * kTileRows : 0)) * panels * kPanel;
}

// Computes a part of a · b, K elements deep: a block of all the part's panels is packed, then the rows of A stream past it.
// emit(row, column, columns, values) takes the finished sums of A's row `row` for B's columns [column, column + columns),
// columns ≤ kPanel; values has room to kPanel. b packs panels as Right does.
template <class U, class B, class Emit>
inline void multiplyPart(const Left& a, const B& b, const Part& part, int64_t N, int64_t K, float* workspace, Emit&& emit) {
  const int64_t panels = part.panelTo - part.panelFrom, rows = part.rowTo - part.rowFrom;
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows, blocks = blockCount(K, a.block);
  U* const packed = reinterpret_cast<U*>(workspace);
  float* const partial = workspace + kBlock<U> / kPerUnit<U> * kPanel * panels;
  const auto depth = [&](int64_t block) { return std::min(K - block * a.block, a.block); };
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t units = unitCount<U>(depth(block)), steps = units / kWidth + 1;
    for (int64_t p = 0; p < panels; ++p) {
      Ahead ahead;
      if (p + 1 < panels) ahead = b.ahead(block * a.block, depth(block), part.panelFrom + p + 1, steps);
      b.template pack<U>(block * a.block, depth(block), part.panelFrom + p, N, packed + p * units * kPanel, &ahead);
    }
    // The next block's panels, or those after this part's, whoever comes to them.
    const bool last = block + 1 == blocks;
    const int64_t next = last ? part.panelTo : part.panelFrom, wanted = std::min(panels, panelCount(N) - next);
    int64_t asked = 0;
    Ahead nextPanels;
    float* sums = partial;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t row = part.rowFrom + i * kTileRows, count = std::min<int64_t>(kTileRows, part.rowTo - row);
      // One panel after the other, all by the time that the last tile is done.
      if (nextPanels.left == 0 && asked < wanted && i * wanted >= asked * tiles)
        nextPanels = b.ahead(last ? 0 : (block + 1) * a.block, depth(last ? 0 : block + 1), next + asked++,
                             std::max<int64_t>(1, tiles / wanted * steps));
      const int64_t lines = (units * 4 + 63) / 64, left = std::clamp<int64_t>(part.rowTo - row - kTileRows, 0, kTileRows) * lines;
      const int64_t rowSteps = std::max<int64_t>(1, panels - 1) * steps;
      Ahead nextRows{a.at(row + kTileRows, block), a.rowBytes, lines, left, (left + rowSteps - 1) / rowSteps};
      for (int64_t p = 0; p < panels; ++p, sums += kTileRows * kPanel) {
        alignas(64) float tile[kTileRows * kPanel];
        multiplyRows<U>(count, a.at(row, block), a.rowBytes, packed + p * units * kPanel, units, tile, kPanel,
                        p + 1 < panels || panels == 1 ? &nextRows : &nextPanels);
        if (block > 0)
          for (int64_t j = 0; j < count * kPanel; j += kWidth) store(tile + j, load(sums + j) + load(tile + j));
        if (!last) {
          for (int64_t j = 0; j < count * kPanel; j += kWidth) store(sums + j, load(tile + j));
        } else {
          const int64_t column = (part.panelFrom + p) * kPanel, columns = std::min<int64_t>(kPanel, N - column);
          for (int64_t j = 0; j < count; ++j) emit(row + j, column, columns, tile + j * kPanel);
        }
      }
    }
  }
}

// How a product is cut into tasks. It changes no bit of the result.
struct Tasks {
  static constexpr int64_t kMostRows = 512;  // so that packing B, once for each task, is little beside multiplying it
  int64_t rows, panels;                      // of one task
  int64_t rowTasks, panelTasks;              // how many
  Tasks(int64_t M, int64_t N, int workers) {
    const int64_t allPanels = panelCount(N);
    rowTasks = (M + kMostRows - 1) / kMostRows;
    rows = rowTasks ? (M + rowTasks - 1) / rowTasks : 0;
    rows = (rows + kTileRows - 1) / kTileRows * kTileRows;
    rowTasks = rows ? (M + rows - 1) / rows : 0;
    panels = std::clamp<int64_t>(rowTasks * allPanels / (int64_t{8} * workers), 1, 4);
    panelTasks = (allPanels + panels - 1) / panels;
  }
  int64_t count() const { return rowTasks * panelTasks; }
  Part part(int64_t task, int64_t M, int64_t N) const {
    const int64_t row = task % rowTasks * rows, panel = task / rowTasks * panels;
    return {row, std::min(row + rows, M), panel, std::min(panel + panels, panelCount(N))};
  }
};

}  // namespace cd::units
