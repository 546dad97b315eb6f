// A few rows times a long matrix whose K runs along memory, as the weights [N, K] of a layer do. gemm.h would bring the long
// matrix into panels that a few rows hardly use; here the few rows become the panels, lanes running along them, and the long
// matrix is broadcast unit by unit from where it lies, read once in a straight line. A multiply-add does not mind which of
// its factors is which: chains, blocks and so the bits are those of gemm.h.
#pragma once

#include <numeric>

#include "gemm.h"

namespace cd::units {

constexpr int64_t kFewRows = 256;  // rows whose panels stay in the L2 cache, for any K of a layer
// Rows of the long matrix computed together: whole tiles, and whole vectors of a row of the result.
constexpr int kGroup = std::lcm(kVectors * kTileRows, kWidth);

// M rows of K elements in panels of all their units. The last panel is one vector wide where that is enough.
template <class U>
struct FewRows {
  int64_t M, K;
  U* panels;

  static int64_t size(int64_t M, int64_t K) { return panelCount(M) * kPanel * unitCount<U>(K); }
  int64_t columns(int64_t panel) const { return std::min<int64_t>(kPanel, M - panel * kPanel); }
  U* at(int64_t panel) const { return panels + panel * kPanel * unitCount<U>(K); }

  // rows: [M, K] along memory, or across it.
  template <class T>
  void pack(int64_t panel, const Right<T>& rows) const {
    const int64_t first = panel * kPanel, count = columns(panel);
    if (count > kWidth) return rows.template pack<U>(0, K, panel, M, at(panel), nullptr);
    const auto rowOf = [&](int64_t index) {
      return rows.data + (rows.along ? (first + index) * rows.stride : index * rows.stride + first);
    };
    if (rows.along) packPanelAlong<U, kWidth>(rowOf, count, K, at(panel));
    else packPanelAcross<U, kWidth>(rowOf, count, K, at(panel));
  }
};

// sums[row][lane] of kGroup rows and a panel that is Vectors vectors wide, over all of K.
template <class U, int Vectors>
inline void multiplyGroup(const char* rows, int64_t rowBytes, const U* panel, int64_t units, float* sums, Ahead* ahead) {
  constexpr int kRows = kTileRows * kVectors / Vectors, kColumns = Vectors * kWidth;
  constexpr int64_t kDepth = kBlock<U> / kPerUnit<U>;
  for (int row = 0; row < kGroup; row += kRows) {
    float* out = sums + row * kColumns;
    const char* first = rows + row * rowBytes;
    multiplyTile<U, kRows, false, Vectors>(first, rowBytes, panel, std::min(units, kDepth), out, kColumns, ahead);
    for (int64_t unit = kDepth; unit < units; unit += kDepth) {
      alignas(64) float tile[kRows * kColumns];
      multiplyTile<U, kRows, false, Vectors>(first + unit * 4, rowBytes, panel + unit * kColumns, std::min(units - unit, kDepth),
                                             tile, kColumns, ahead);
      for (int i = 0; i < kRows * kColumns; i += kWidth) store(out + i, load(out + i) + load(tile + i));
    }
  }
}

// [kGroup rows, width] → [width, kGroup].
inline void turnGroup(const float* sums, int width, float* turned) {
  for (int row = 0; row < kGroup; row += kWidth)
    for (int lane = 0; lane < width; lane += kWidth) {
      UVec block[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) block[i] = loadUnits(sums + (row + i) * width + lane);
      transposeBlock(block);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) storeUnits(turned + (lane + i) * kGroup + row, block[i]);
    }
}

// Units of workspace that streamRows needs.
template <class U>
inline int64_t streamWorkspace(int64_t K) {
  return kGroup * unitCount<U>(K);
}

// The products of the few rows with rows [from, to) of the long matrix, from a multiple of kGroup.
// emit(row, column, columns, values): the sums of few row `row` with the long rows [column, column + columns), columns ≤ kGroup.
template <class U, class T, class Emit>
inline void streamRows(const FewRows<U>& few, const T* data, int64_t stride, int64_t from, int64_t to, U* workspace,
                       Emit&& emit) {
  const int64_t units = unitCount<U>(few.K), panels = panelCount(few.M);
  const bool inPlace = sizeof(T) * kPerUnit<U> == sizeof(U) && few.K % kPerUnit<U> == 0;
  const int64_t bytes = stride * static_cast<int64_t>(sizeof(T)), lines = (few.K * static_cast<int64_t>(sizeof(T)) + 63) / 64;
  const int64_t steps = panels * (units / kWidth + 1) * (few.M > kWidth ? kGroup / kTileRows : kGroup / kTileRows / kVectors);
  const auto group = [&](int64_t row, int64_t steps) {
    const int64_t wanted = std::clamp<int64_t>(to - row, 0, kGroup) * lines;
    return Ahead{reinterpret_cast<const char*>(data + row * stride), bytes, lines, wanted, (wanted + steps - 1) / steps};
  };
  group(from, 1).fetch();  // at once: nothing was computed while it could have come
  for (int64_t row = from; row < to; row += kGroup) {
    const int64_t count = std::min<int64_t>(kGroup, to - row);
    Ahead ahead = group(row + kGroup, steps);
    const char* rows = reinterpret_cast<const char*>(data + row * stride);
    int64_t rowBytes = bytes;
    if (!inPlace || count < kGroup) {
      if (count < kGroup) std::memset(workspace + count * units, 0, (kGroup - count) * units * sizeof(U));
      copyRows<U>(data + row * stride, stride, count, few.K, workspace, units);
      rows = reinterpret_cast<const char*>(workspace);
      rowBytes = units * static_cast<int64_t>(sizeof(U));
    }
    for (int64_t panel = 0; panel < panels; ++panel) {
      alignas(64) float sums[kGroup * kPanel], turned[kPanel * kGroup];
      if (few.columns(panel) > kWidth) {
        multiplyGroup<U, kVectors>(rows, rowBytes, few.at(panel), units, sums, &ahead);
        turnGroup(sums, kPanel, turned);
      } else {
        multiplyGroup<U, 1>(rows, rowBytes, few.at(panel), units, sums, &ahead);
        turnGroup(sums, kWidth, turned);
      }
      for (int64_t i = 0; i < few.columns(panel); ++i) emit(panel * kPanel + i, row, count, turned + i * kGroup);
    }
  }
}

}  // namespace cd::units
