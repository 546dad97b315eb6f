// The right-hand operand of a product, packed: panels of kPanel columns, unit after unit, so that the tile kernel reads it in
// a straight line. Left-hand operands are read in place where their K runs along memory, and brought into that form else.
#pragma once

#include <algorithm>

#include "units.h"

namespace cd::units {

constexpr int kVectors = 2;                // vectors of one panel row
constexpr int kPanel = kVectors * kWidth;  // columns of a panel

inline int64_t panelCount(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// A cache line that will be wanted. GCC removes loops of nothing but prefetches: the empty statement keeps them.
inline void prefetch(const void* place) {
  __builtin_prefetch(place, 0, 2);
  asm volatile("");
}

// Memory that comes next, asked for line by line in the order it lies in, while something else is computed: without it a
// matrix that is read once would be waited for. The prefetch units of processors do not follow the packing's access pattern.
struct Ahead {
  const char* row = nullptr;
  int64_t rowBytes = 0;  // from row to row
  int64_t rowLines = 1;  // cache lines wanted of a row
  int64_t left = 0;      // cache lines still to ask for
  int64_t quota = 0;     // how many at a time
  int64_t line = 0;

  void fetch() {
    for (int64_t i = std::min(quota, left); i > 0; --i) {
      prefetch(row + line * 64);
      if (++line == rowLines) {
        line = 0;
        row += rowBytes;
      }
    }
    left -= std::min(quota, left);
  }
};

// kWidth rows of kWidth units with K along memory become kWidth columns of a panel, its rows `stride` units apart. Apart from the
// ragged case, so that the block stays in registers.
template <int Stride, class U, class RowOf>
[[gnu::always_inline]] inline void packBlock(RowOf&& rowOf, int64_t lane, int64_t unit, U* place) {
  UVec block[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) block[i] = loadAlong<U>(rowOf(lane + i) + unit * kPerUnit<U>, kWidth * kPerUnit<U>);
  transposeBlock(block);
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) storeUnits(place + i * Stride, block[i]);
}
template <int Stride, class U, class RowOf>
[[gnu::noinline]] void packRaggedBlock(RowOf&& rowOf, int64_t lane, int64_t lanes, int64_t unit, int64_t elements, U* place) {
  UVec block[kWidth];
  for (int i = 0; i < kWidth; ++i) block[i] = i < lanes ? loadAlong<U>(rowOf(lane + i) + unit * kPerUnit<U>, elements) : UVec{};
  transposeBlock(block);
  for (int64_t i = 0; i < std::min<int64_t>(kWidth, unitCount<U>(elements)); ++i) storeUnits(place + i * Stride, block[i]);
}

// columns ≤ Width rows of a matrix whose K runs along memory (rowOf(column) → its first element in this block of K) become
// the columns of a panel Width wide.
template <class U, int Width = kPanel, class RowOf, class Next = Ahead>
inline void packPanelAlong(RowOf&& rowOf, int64_t columns, int64_t elements, U* panel, Next* ahead = nullptr) {
  for (int lane = 0; lane < Width; lane += kWidth)
    for (int64_t unit = 0; unit * kPerUnit<U> < elements; unit += kWidth) {
      const int64_t lanes = columns - lane, rest = elements - unit * kPerUnit<U>;
      U* place = panel + unit * Width + lane;
      if (ahead) ahead->fetch();
      if (lanes >= kWidth && rest >= kWidth * kPerUnit<U>) packBlock<Width, U>(rowOf, lane, unit, place);
      else packRaggedBlock<Width, U>(rowOf, lane, lanes, unit, rest, place);
    }
}

// A whole row of a panel from one row of a matrix, or, for pairs, from two.
template <class U, class T>
[[gnu::always_inline]] inline void loadPanelRow(const T* first, [[maybe_unused]] const T* second, UVec (&row)[kVectors]) {
#if defined(__AVX512BW__)
  if constexpr (std::is_same_v<U, Pair>) {
    static_assert(kPanel == 32);
    typedef uint16_t Halves __attribute__((vector_size(64), aligned(2), may_alias));
    const Halves low = *reinterpret_cast<const Halves*>(first), high = *reinterpret_cast<const Halves*>(second);
    constexpr auto interleave = []<int... Lane>(std::integer_sequence<int, Lane...>, int start) {
      return Halves{static_cast<uint16_t>(Lane % 2 * 32 + start + Lane / 2)...};
    };
    constexpr Halves kLeft = interleave(std::make_integer_sequence<int, 32>{}, 0);
    constexpr Halves kRight = interleave(std::make_integer_sequence<int, 32>{}, 16);
    row[0] = reinterpret_cast<UVec>(__builtin_shuffle(low, high, kLeft));
    row[1] = reinterpret_cast<UVec>(__builtin_shuffle(low, high, kRight));
    return;
  }
#endif
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) row[v] = loadAcross<U>(first + v * kWidth, second, kWidth);
}

// columns ≤ Width neighbouring columns of a matrix whose rows run along K: rowOf(k) → the panel's first element in row k.
template <class U, int Width = kPanel, class RowOf>
inline void packPanelAcross(RowOf&& rowOf, int64_t columns, int64_t elements, U* panel, Ahead* ahead = nullptr) {
  constexpr int kStep = kPerUnit<U>;
  for (int64_t k = 0; k < elements; k += kStep, panel += Width) {
    if (ahead && k % (kWidth / kVectors * kStep) == 0) ahead->fetch();
    const auto* first = rowOf(k);
    if (columns >= kPanel && Width == kPanel && k + kStep <= elements) {
      UVec row[kVectors];
      loadPanelRow<U>(first, rowOf(k + kStep - 1), row);
      for (int v = 0; v < kVectors; ++v) storeUnits(panel + v * kWidth, row[v]);
      continue;
    }
    const decltype(first) second = kStep == 2 && k + 1 < elements ? rowOf(k + 1) : nullptr;
    for (int v = 0; v < Width / kWidth; ++v) {
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
  constexpr int kStep = kPerUnit<U>;
  const int64_t count = unitCount<U>(elements);
  for (int64_t unit = 0; unit < count; unit += kWidth)
    for (int64_t row = 0; row < rows; row += kWidth) {
      const int64_t k = unit * kStep;
      const T* first = source + k * stride + row;
      U* place = target + row * targetStride + unit;
      if (rows - row >= kWidth && elements - k >= kWidth * kStep) {
        UVec block[kWidth];
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i)
          block[i] = loadAcross<U>(first + i * kStep * stride, first + (i * kStep + 1) * stride, kWidth);
        transposeBlock(block);
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) storeUnits(place + i * targetStride, block[i]);
      } else {
        UVec block[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          const T* second = k + i * kStep + 1 < elements ? first + (i * kStep + 1) * stride : nullptr;
          block[i] = k + i * kStep < elements ? loadAcross<U>(first + i * kStep * stride, second, rows - row) : UVec{};
        }
        transposeBlock(block);
        for (int64_t i = 0; i < kWidth && row + i < rows; ++i) storeSome(place + i * targetStride, block[i], count - unit);
      }
    }
}

}  // namespace cd::units
