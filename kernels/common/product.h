// The operands and the result of a matrix product, as memory has them, around the tiles of gemm.h.
#pragma once

#include "gemm.h"

namespace cd::units {

constexpr int64_t kPackRows = 64;  // rows of A that one task brings into unit form

// A in unit form: in place where its K runs along memory in whole units of the right type.
template <class T, class U>
inline bool inPlace(bool transposed, int64_t K) {
  return !transposed && sizeof(T) * kPerUnit<U> == sizeof(U) && K % kPerUnit<U> == 0;
}

template <class T, class U>
inline void packLeft(const Call& call, const Tensor& a, bool transposed, int64_t M, int64_t K, U* target) {
  const int64_t stride = unitCount<U>(K);
  call.parallelFor((M + kPackRows - 1) / kPackRows, [&](int64_t task, int) {
    const int64_t row = task * kPackRows, rows = std::min(kPackRows, M - row);
    if (transposed) transposeRows<U>(a.as<T>() + row, a.rowStride, rows, K, target + row * stride, stride);
    else copyRows<U>(a.row<T>(row), a.rowStride, rows, K, target + row * stride, stride);
  });
}

// One row of a finished tile into C.
template <class C>
inline void write(C* c, const float* sums, int64_t columns, float alpha, bool accumulate) {
  // The row's next panel: rows of a wide c lie too far apart for prefetch units to see a pattern.
  for (int64_t j = 0; j < kPanel * static_cast<int64_t>(sizeof(C)); j += 64)
    __builtin_prefetch(reinterpret_cast<char*>(c + kPanel) + j, 1, 2);
  int64_t i = 0;
  for (; i + kWidth <= columns; i += kWidth) {
    const Vec product = load(sums + i) * alpha;
    store(c + i, accumulate ? load(c + i) + product : product);
  }
  for (; i < columns; ++i) c[i] = fromFloat<C>(accumulate ? toFloat(c[i]) + sums[i] * alpha : sums[i] * alpha);
}

// The left operand: [M, K], or [K, M] transposed.
struct LeftOperand {
  const Tensor& tensor;
  bool transposed;
  int64_t K;
};
// c = alpha · product, or c += alpha · product.
struct Result {
  const Tensor& tensor;
  float alpha;
  bool accumulate;
};

// The product with any right operand that packs panels as Right does.
template <class T, class C, class B>
inline void multiplyPanels(const Call& call, const LeftOperand& a, const B& right, const Result& result) {
  using U = Unit<T>;
  const int64_t M = result.tensor.shape[0], N = result.tensor.shape[1], K = a.K;
  const bool direct = inPlace<T, U>(a.transposed, K);
  const Tasks tasks(M, N, call.parallel->workers());
  const int64_t workspace = workspaceSize<U>(tasks.rows, tasks.panels, K);
  const int64_t packed = direct ? 0 : (M * unitCount<U>(K) + 15) / 16 * 16;
  float* const scratch = call.scratch<float>(call.parallel->workers() * workspace + packed);
  U* const packedA = reinterpret_cast<U*>(scratch + call.parallel->workers() * workspace);
  if (!direct) packLeft<T, U>(call, a.tensor, a.transposed, M, K, packedA);
  const Left left = leftRows<U>(direct ? a.tensor.data : packedA,
                                direct ? a.tensor.rowStride * static_cast<int64_t>(sizeof(T)) : unitCount<U>(K) * 4);
  call.parallelFor(tasks.count(), [&](int64_t task, int worker) {
    const auto emit = [&](int64_t row, int64_t column, int64_t columns, const float* sums) {
      write(result.tensor.row<C>(row) + column, sums, columns, result.alpha, result.accumulate);
    };
    multiplyPart<U>(left, right, tasks.part(task, M, N), N, K, scratch + worker * workspace, emit);
  });
}

}  // namespace cd::units
