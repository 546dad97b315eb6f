#include "../common/dispatch.h"
#include "../common/product.h"
#include "../common/stream.h"
#include "quantised_matmul.h"

namespace cd::cpu {
using namespace units;

namespace {

// kWidth numbers of four bits, from a byte on.
inline Vec loadNibbles(const uint8_t* source) {
  typedef uint8_t Bytes __attribute__((vector_size(kWidth / 2), aligned(1), may_alias));
  typedef uint16_t Pairs __attribute__((vector_size(kWidth), aligned(2), may_alias));
  const Pairs bytes = __builtin_convertvector(*reinterpret_cast<const Bytes*>(source), Pairs);
  const Pairs apart = (bytes | bytes << 4) & 0x0f0f;
  const UVec nibbles = __builtin_convertvector(reinterpret_cast<const simd::BVec&>(apart), UVec);
  const Vec magnitude = reinterpret_cast<Vec>((nibbles & 7u) << 22) * 0x1p126f;
  return reinterpret_cast<Vec>(reinterpret_cast<UVec>(magnitude) | (nibbles & 8u) << 28);
}

// W as numbers of type T, brought from its rows where they are needed; panels as Right packs them.
template <class T>
struct Dequantised {
  static constexpr int64_t kRun = 128;  // elements of K at once: a panel of them stays in the L1 cache

  QuantisedWeight weight;
  bool along;  // K of the product runs along W's rows

  // `count` elements of a row of W, from `column` on.
  void row(int64_t row, int64_t column, int64_t count, T* target) const {
    const bool nibbles = weight.form == WeightForm::Mxfp4;
    while (count > 0) {
      const int64_t run = std::min(count, weight.run(column));
      const float scale = weight.scale(row, column);
      int64_t i = 0;
      const int64_t place = nibbles ? weight.firstColumn + column : column;
      const uint8_t* const numbers = weight.weight + row * weight.stride + (nibbles ? place / 2 : place);
      if (!nibbles)
        for (; i + kWidth <= run; i += kWidth) store(target + i, load(reinterpret_cast<const Float8*>(numbers + i)) * scale);
      else if (place % 2 == 0)
        for (; i + kWidth <= run; i += kWidth) store(target + i, loadNibbles(numbers + i / 2) * scale);
      for (; i < run; ++i) target[i] = fromFloat<T>(weight.number(row, column + i) * scale);
      column += run;
      target += run;
      count -= run;
    }
  }

  template <class U>
  void pack(int64_t k, int64_t elements, int64_t panel, int64_t N, U* target, Ahead*) const {
    const int64_t column = panel * kPanel, columns = std::min<int64_t>(kPanel, N - column);
    alignas(64) T numbers[kPanel * kRun];
    for (int64_t from = 0; from < elements; from += kRun) {
      const int64_t count = std::min(kRun, elements - from);
      U* const place = target + from / kPerUnit<U> * kPanel;
      if (along) {
        for (int64_t i = 0; i < columns; ++i) row(column + i, k + from, count, numbers + i * kRun);
        packPanelAlong<U>([&](int64_t i) { return numbers + i * kRun; }, columns, count, place);
      } else {
        for (int64_t i = 0; i < count; ++i) row(k + from + i, column, columns, numbers + i * kPanel);
        packPanelAcross<U>([&](int64_t i) { return numbers + i * kPanel; }, columns, count, place);
      }
    }
  }

  // Dequantising keeps the processor busy for longer than reading does.
  Ahead ahead(int64_t, int64_t, int64_t, int64_t) const { return {}; }
};

// x · Wᵀ for so few rows of x that they stay in the cache: every row of W is dequantised once.
template <class T, class Y>
void multiplyFewRows(const Call& call, const Dequantised<T>& w, int64_t M, int64_t N, int64_t K, bool accumulate) {
  using U = Unit<T>;
  const Tensor &x = call[0], &y = call[3];
  const int64_t workers = call.parallel->workers(), units = unitCount<U>(K);
  const int64_t workspace = (streamWorkspace<U>(K) + 15) / 16 * 16, numbers = kGroup * units;
  U* const scratch = call.scratch<U>(workers * (workspace + numbers) + FewRows<U>::size(M, K));
  const FewRows<U> few{M, K, scratch + workers * (workspace + numbers)};
  const Right<T> rows{x.as<T>(), x.rowStride, true};
  call.parallelFor(panelCount(M), [&](int64_t panel, int) { few.pack(panel, rows); });
  call.parallelFor((N + kGroup - 1) / kGroup, [&](int64_t task, int worker) {
    const int64_t first = task * kGroup, count = std::min<int64_t>(kGroup, N - first), stride = units * kPerUnit<U>;
    U* const work = scratch + worker * (workspace + numbers);
    T* const group = reinterpret_cast<T*>(work + workspace);
    for (int64_t i = 0; i < count; ++i) w.row(first + i, 0, K, group + i * stride);
    streamRows(few, group, stride, 0, count, work, [&](int64_t row, int64_t column, int64_t columns, const float* sums) {
      write(y.row<Y>(row) + first + column, sums, columns, 1, accumulate);
    });
  });
}

template <class T, class Y>
void multiply(const Call& call) {
  const Tensor &x = call[0], &y = call[3];
  const bool transposed = call.attribute(0) != 0, accumulate = call.attribute(1) != 0;
  const int64_t M = y.shape[0], N = y.shape[1], K = x.shape[1];
  if (M == 0 || N == 0) return;
  const Dequantised<T> w{quantisedWeight(call, 1, 2), transposed};
  if (transposed && M <= kFewRows) return multiplyFewRows<T, Y>(call, w, M, N, K, accumulate);
  multiplyPanels<T, Y>(call, {x, false, K}, w, {y, 1, accumulate});
}
}  // namespace

void quantised_matmul(const Call& call) {
  withFloat(call[0].dtype, [&](auto x) { withFloat(call[3].dtype, [&](auto y) { multiply<decltype(x), decltype(y)>(call); }); });
}

void dequantise(const Call& call) {
  const Tensor& w = call[2];
  withFloat(w.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Dequantised<T> from{quantisedWeight(call, 0, 0), true};
    call.parallelFor(w.shape[0], [&](int64_t row, int) { from.row(row, 0, w.shape[1], w.row<T>(row)); });
  });
}

}  // namespace cd::cpu
