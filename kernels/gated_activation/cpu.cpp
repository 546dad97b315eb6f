#include "../common/dispatch.h"
#include "../common/elementwise.h"

namespace cd::cpu {
using namespace simd;

namespace {
Vec sigmoid(Vec x) { return 1.0f / (1.0f + simd::exp(-x)); }

template <class T>
void backwardSpan(int64_t count, const T* gate, const T* up, const T* dy, T* dGate, T* dUp) {
  const auto step = [](Vec g, Vec u, Vec d, Vec& dg, Vec& du) {
    const Vec s = sigmoid(g);
    du = d * (g * s);
    dg = d * u * (s * fma(g, 1.0f - s, splat(1.0f)));
  };
  Vec dg, du;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    step(load(gate + i), load(up + i), load(dy + i), dg, du);
    store(dGate + i, dg);
    store(dUp + i, du);
  }
  if (const int64_t rest = count - i; rest > 0) {
    step(loadTail(gate + i, rest), loadTail(up + i, rest), loadTail(dy + i, rest), dg, du);
    storeTail(dGate + i, dg, rest);
    storeTail(dUp + i, du, rest);
  }
}
}  // namespace

void silu_mul(const Call& call) {
  const Tensor &gate = call[0], &up = call[1], &y = call[2];
  withFloat(gate.dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, gate, allContiguous(call, {0, 1, 2}), [&](int64_t row, int64_t start, int64_t count) {
      map(
          count, y.row<T>(row) + start, [](Vec g, Vec u) { return g * sigmoid(g) * u; }, gate.row<T>(row) + start,
          up.row<T>(row) + start);
    });
  });
}

void silu_mul_backward(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1, 2, 3, 4}), [&](int64_t row, int64_t start, int64_t count) {
      backwardSpan(count, call[0].row<T>(row) + start, call[1].row<T>(row) + start, call[2].row<T>(row) + start,
                   call[3].row<T>(row) + start, call[4].row<T>(row) + start);
    });
  });
}

}  // namespace cd::cpu
