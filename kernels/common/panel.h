// The right-hand operand of a product, packed: panels of kPanel columns, unit after unit, so that the tile kernel reads it in
// a straight line. Left-hand operands are read in place where their K runs along memory, and brought into that form else.
#pragma once

#include "units.h"

namespace cd::units {

constexpr int kVectors = 2;                // vectors of one panel row
constexpr int kPanel = kVectors * kWidth;  // columns of a panel

inline int64_t panelCount(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// Asks for the bytes [from, from + 64·lines) ahead of their use.
inline void prefetch(const void* from) { __builtin_prefetch(from, 0, 2); }

// columns ≤ kPanel rows of a matrix whose K runs along memory (rowOf(column) → its first element in this block of K) become
// the panel's columns. `ahead`: elements from a row to one that will be wanted later, 0 for none.
template <class U, class RowOf>
inline void packPanelAlong(RowOf&& rowOf, int64_t columns, int64_t elements, U* panel, int64_t ahead = 0) {
  const int64_t count = unitCount<U>(elements);
  for (int v = 0; v < kVectors; ++v) {
    const int64_t lanes = columns - v * kWidth;
    for (int64_t unit = 0; unit < count; unit += kWidth) {
      UVec block[kWidth];
      const int64_t rest = elements - unit * kPerUnit<U>;
      if (lanes >= kWidth && rest >= kWidth * kPerUnit<U>) {
#pragma GCC unroll 16
        for (int lane = 0; lane < kWidth; ++lane) {
          const auto* row = rowOf(v * kWidth + lane) + unit * kPerUnit<U>;
          block[lane] = loadAlong<U>(row, kWidth * kPerUnit<U>);
          if (ahead) prefetch(row + ahead);
        }
      } else {
        for (int lane = 0; lane < kWidth; ++lane)
          block[lane] = lane < lanes ? loadAlong<U>(rowOf(v * kWidth + lane) + unit * kPerUnit<U>, rest) : UVec{};
      }
      transposeBlock(block);
      U* place = panel + unit * kPanel + v * kWidth;
      if (count - unit >= kWidth) {
#pragma GCC unroll 16
        for (int row = 0; row < kWidth; ++row) storeUnits(place + row * kPanel, block[row]);
      } else {
        for (int64_t row = 0; row < count - unit; ++row) storeUnits(place + row * kPanel, block[row]);
      }
    }
  }
}

// columns ≤ kPanel neighbouring columns of a matrix whose rows run along K: rowOf(k) → the panel's first element in row k.
template <class U, class RowOf>
inline void packPanelAcross(RowOf&& rowOf, int64_t columns, int64_t elements, U* panel) {
  for (int64_t k = 0; k < elements; k += kPerUnit<U>, panel += kPanel) {
    const auto* first = rowOf(k);
    const decltype(first) second = kPerUnit<U> == 2 && k + 1 < elements ? rowOf(k + 1) : nullptr;
    for (int v = 0; v < kVectors; ++v) {
      const int64_t lanes = columns - v * kWidth;
      storeUnits(panel + v * kWidth,
                 lanes > 0 ? loadAcross<U>(first + v * kWidth, second ? second + v * kWidth : nullptr, lanes) : UVec{});
    }
  }
}

// A matrix [rows, elements] with K along memory → units [rows, unitCount], the last unit padded with 0.
template <class U, class T>
inline void copyRows(const T* source, int64_t stride, int64_t rows, int64_t elements, U* target, int64_t targetStride) {
  const int64_t count = unitCount<U>(elements);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t unit = 0; unit < count; unit += kWidth) {
      const UVec value = loadAlong<U>(source + row * stride + unit * kPerUnit<U>, elements - unit * kPerUnit<U>);
      storeSome(target + row * targetStride + unit, value, count - unit);
    }
}

// A matrix [elements, rows] with K down its rows → units [rows, unitCount].
template <class U, class T>
inline void transposeRows(const T* source, int64_t stride, int64_t rows, int64_t elements, U* target, int64_t targetStride) {
  const int64_t count = unitCount<U>(elements);
  for (int64_t row = 0; row < rows; row += kWidth)
    for (int64_t unit = 0; unit < count; unit += kWidth) {
      UVec block[kWidth];
      for (int lane = 0; lane < kWidth; ++lane) {
        const int64_t k = (unit + lane) * kPerUnit<U>;
        const T* first = source + k * stride + row;
        block[lane] = k < elements ? loadAcross<U>(first, k + 1 < elements ? first + stride : nullptr, rows - row) : UVec{};
      }
      transposeBlock(block);
      for (int64_t lane = 0; lane < kWidth && row + lane < rows; ++lane)
        storeSome(target + (row + lane) * targetStride + unit, block[lane], count - unit);
    }
}

}  // namespace cd::units
