#include "../common/dispatch.h"
#include "../common/elementwise.h"

namespace cd::cpu {
using namespace simd;

namespace {
constexpr int64_t kRowBlock = 64;

// Σ a[i]·b[i] in the fixed order.
template <class A, class B>
float dot(const A* a, const B* b, int64_t count) {
  Vec total{};
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) total = fma(load(a + i), load(b + i), total);
  if (i < count) total = fma(loadTail(a + i, count - i), loadTail(b + i, count - i), total);
  return sum(total);
}

template <class T>
void forwardRow(const T* x, const T* weight, T* y, float* invRms, int64_t E, float eps) {
  const float r = 1.0f / std::sqrt(dot(x, x, E) / static_cast<float>(E) + eps);
  *invRms = r;
  int64_t i = 0;
  for (; i + kWidth <= E; i += kWidth) {
    T normalised[kWidth];
    store(normalised, load(x + i) * r);
    store(y + i, load(normalised) * load(weight + i));
  }
  for (; i < E; ++i) y[i] = fromFloat<T>(toFloat(fromFloat<T>(toFloat(x[i]) * r)) * toFloat(weight[i]));
}

template <class T>
void backwardRow(const T* x, const T* weight, float r, const T* dy, const T* dSum, T* dx, float* dWeight, int64_t E) {
  Vec total{};
  int64_t i = 0;
  for (; i + kWidth <= E; i += kWidth) total = fma(load(dy + i) * load(weight + i), load(x + i), total);
  if (i < E) total = fma(loadTail(dy + i, E - i) * loadTail(weight + i, E - i), loadTail(x + i, E - i), total);
  const float mean = sum(total) * r * r / static_cast<float>(E);
  for (i = 0; i + kWidth <= E; i += kWidth) {
    const Vec xi = load(x + i), dyi = load(dy + i);
    const Vec own = (dyi * load(weight + i) - xi * mean) * r;
    store(dx + i, dSum ? load(dSum + i) + own : own);
    if (dWeight) store(dWeight + i, load(dWeight + i) + dyi * xi * r);
  }
  for (; i < E; ++i) {
    const float xi = toFloat(x[i]), dyi = toFloat(dy[i]);
    const float own = (dyi * toFloat(weight[i]) - xi * mean) * r;
    dx[i] = fromFloat<T>(dSum ? toFloat(dSum[i]) + own : own);
    if (dWeight) dWeight[i] += dyi * xi * r;
  }
}

// body(row) for every row, in parallel.
template <class Body>
void forRows(const Call& call, int64_t rows, Body&& body) {
  call.parallelFor((rows + kRowBlock - 1) / kRowBlock, [&](int64_t block, int) {
    for (int64_t t = block * kRowBlock; t < rows && t < (block + 1) * kRowBlock; ++t) body(t);
  });
}
}  // namespace

void rms_norm(const Call& call) {
  const Tensor &x = call[0], &weight = call[1], &y = call[2], &invRms = call[3];
  const float eps = static_cast<float>(call.attribute(0));
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    forRows(call, x.rows(),
            [&](int64_t t) { forwardRow(x.row<T>(t), weight.as<T>(), y.row<T>(t), invRms.as<float>() + t, x.cols(), eps); });
  });
}

void add_rms_norm(const Call& call) {
  const Tensor &a = call[0], &b = call[1], &weight = call[2], &sum = call[3], &y = call[4], &invRms = call[5];
  const float eps = static_cast<float>(call.attribute(0));
  withFloat(a.dtype, [&](auto zero) {
    using T = decltype(zero);
    forRows(call, a.rows(), [&](int64_t t) {
      map(a.cols(), sum.row<T>(t), [](Vec left, Vec right) { return left + right; }, a.row<T>(t), b.row<T>(t));
      forwardRow(sum.row<T>(t), weight.as<T>(), y.row<T>(t), invRms.as<float>() + t, a.cols(), eps);
    });
  });
}

void rms_norm_backward(const Call& call) {
  const Tensor &x = call[0], &weight = call[1], &invRms = call[2], &dy = call[3], &dx = call[4], &dWeight = call[5],
               &dSum = call[6];
  const int64_t rows = x.rows(), E = x.cols(), blocks = (rows + kRowBlock - 1) / kRowBlock;
  float* partial = dWeight.present ? call.scratch<float>(blocks * E) : nullptr;
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallelFor(blocks, [&](int64_t block, int) {
      float* mine = partial ? partial + block * E : nullptr;
      if (mine) std::memset(mine, 0, sizeof(float) * E);
      for (int64_t t = block * kRowBlock; t < rows && t < (block + 1) * kRowBlock; ++t)
        backwardRow(x.row<T>(t), weight.as<T>(), invRms.as<float>()[t], dy.row<T>(t), dSum.present ? dSum.row<T>(t) : nullptr,
                    dx.row<T>(t), mine, E);
    });
  });
  for (int64_t block = 0; block < (partial ? blocks : 0); ++block)
    for (int64_t i = 0; i < E; ++i) dWeight.as<float>()[i] += partial[block * E + i];
}

}  // namespace cd::cpu
