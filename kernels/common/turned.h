// A few rows times a long matrix whose K runs along memory, as the weights [N, K] of a layer do when few sequences are decoded.
// Reading the long matrix is the work then: it passes through the registers once, in blocks that are turned there, so that
// lanes run along N as in gemm.h. Chains, blocks and so the bits are those of gemm.h.
#pragma once

#include <utility>

#include "gemm.h"

namespace cd::units {

constexpr int kTurnedRows = 4;  // more are computed faster by stream.h

// sums[row][column] of Rows rows in unit form (unitCount(K) apart) with kWidth rows of the long matrix.
template <class U, int Rows, class T>
[[gnu::noinline]] void multiplyTurned(const U* few, int64_t K, const T* const (&columns)[kWidth], float* sums, Ahead* ahead) {
  constexpr int64_t kStep = kWidth * kPerUnit<U>;  // elements of K in a block
  const int64_t units = unitCount<U>(K);
  Vec total[Rows] = {};
  for (int64_t from = 0; from < K; from += kBlock<U>) {
    const int64_t to = std::min(K, from + kBlock<U>);
    Vec chains[Rows] = {};
    const auto multiplyBlock = [&](int64_t k, int64_t elements) __attribute__((always_inline)) {
      UVec block[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) block[i] = loadAlong<U>(columns[i] + k, elements);
      transposeBlock(block);
      const U* left = few + k / kPerUnit<U>;
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        if (i * kPerUnit<U> >= elements) continue;
#pragma GCC unroll 8
        for (int row = 0; row < Rows; ++row)
          chains[row] = multiplyAdd<U>(broadcast(left + row * units + i), block[i], chains[row]);
      }
    };
    int64_t k = from;
    for (; k + kStep <= to; k += kStep) {
      ahead->fetch();
      multiplyBlock(k, kStep);
    }
    if (k < to) multiplyBlock(k, to - k);
#pragma GCC unroll 8
    for (int row = 0; row < Rows; ++row) total[row] = from == 0 ? chains[row] : total[row] + chains[row];
  }
#pragma GCC unroll 8
  for (int row = 0; row < Rows; ++row) store(sums + row * kWidth, total[row]);
}

// The products of M ≤ kTurnedRows rows in unit form with rows [from, to) of a long matrix.
// emit(row, column, columns, values): the sums of few row `row` with the long rows [column, column + columns), columns ≤ kWidth.
template <class U, class T, class Emit>
inline void multiplyTurnedRows(const U* few, int64_t M, int64_t K, const T* data, int64_t stride, int64_t from, int64_t to,
                               Emit&& emit) {
  const int64_t lines = (K * static_cast<int64_t>(sizeof(T)) + 63) / 64;
  const auto ahead = [&](int64_t column, int64_t steps) {
    const int64_t wanted = std::clamp<int64_t>(to - column, 0, kWidth) * lines;
    return Ahead{reinterpret_cast<const char*>(data + column * stride), stride * static_cast<int64_t>(sizeof(T)), lines, wanted,
                 (wanted + steps - 1) / steps};
  };
  ahead(from, 1).fetch();  // at once: nothing was computed while it could have come
  for (int64_t column = from; column < to; column += kWidth) {
    const int64_t count = std::min<int64_t>(kWidth, to - column);
    Ahead next = ahead(column + kWidth, std::max<int64_t>(1, K / (kWidth * kPerUnit<U>)));
    // Past the last row it stands for those that are not there.
    const T* columns[kWidth];
    for (int64_t i = 0; i < kWidth; ++i) columns[i] = data + (column + std::min(i, count - 1)) * stride;
    alignas(64) float sums[kTurnedRows * kWidth];
    [&]<int... Rows>(std::integer_sequence<int, Rows...>) {
      ((M == Rows + 1 ? multiplyTurned<U, Rows + 1>(few, K, columns, sums, &next) : void()), ...);
    }(std::make_integer_sequence<int, kTurnedRows>{});
    for (int64_t row = 0; row < M; ++row) emit(row, column, count, sums + row * kWidth);
  }
}

}  // namespace cd::units
