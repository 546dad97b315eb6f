#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    table(const int32_t* positions, const float* inverseFrequencies, Rows<float> cosSin, int64_t T, int64_t half, float factor) {
  const int64_t stride = int64_t{gridDim.x} * kThreads;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < T * half; i += stride) {
    const int64_t t = i / half, j = i % half;
    const double angle = static_cast<float>(positions[t]) * inverseFrequencies[j];
    *cosSin.at(t, j) = static_cast<float>(cos(angle)) * factor;
    *cosSin.at(t, half + j) = static_cast<float>(sin(angle)) * factor;
  }
}

// A row is one head of one token: its pairs, in spans, then the dimensions that do not turn.
template <class X>
struct Rotate {
  Rows<X> x, y;
  Rows<float> cosSin;
  int64_t H, D, half, pairs;  // pairs: half, up to the next whole span
  float direction;
  bool halfPacked;  // spans from `half` on are aligned as well

  __device__ void operator()(int64_t row, int64_t start, int) const {
    if (start >= pairs) {
      const int64_t from = 2 * half + start - pairs;
      X values[kSpan];
      // Only spans from 0 on are known to be aligned.
      Rows<X> source = x, target = y;
      source.packed = target.packed = false;
      const int count = static_cast<int>(D - from < kSpan ? D - from : kSpan);
      source.loadRaw(values, row, from, count);
      target.storeRaw(values, row, from, count);
      return;
    }
    const int64_t t = row / H;
    const int count = static_cast<int>(half - start < kSpan ? half - start : kSpan);
    Rows<X> x2 = x, y2 = y;
    Rows<float> sine = cosSin;
    x2.packed = x2.packed && halfPacked;
    y2.packed = y2.packed && halfPacked;
    sine.packed = sine.packed && halfPacked;
    float a[kSpan], b[kSpan], c[kSpan], s[kSpan];
    x.load(a, row, start, count);
    x2.load(b, row, half + start, count);
    cosSin.load(c, t, start, count);
    sine.load(s, t, half + start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      const float turned = s[i] * direction, first = a[i];
      a[i] = fmaf(first, c[i], -(b[i] * turned));
      b[i] = fmaf(b[i], c[i], first * turned);
    }
    y.store(a, row, start, count);
    y2.store(b, row, half + start, count);
  }
};
}  // namespace

void rotary_table(const Call& call) {
  const Tensor &positions = call[0], &inverseFrequencies = call[1], &cosSin = call[2];
  const int64_t T = positions.elements(), half = inverseFrequencies.elements();
  launch(call, blocksFor(T * half, kThreads), kThreads, 0, table, positions.as<int32_t>(), inverseFrequencies.as<float>(),
         Rows<float>(cosSin), T, half, static_cast<float>(call.attribute(0)));
}

void rotary(const Call& call) {
  const Tensor &x = call[0], &cosSin = call[1], &y = call[2];
  const int64_t H = x.shape[1], D = x.shape[2], half = cosSin.shape[1] / 2, pairs = ceilDiv(half, kSpan) * kSpan;
  const int64_t rest = y.data == x.data ? 0 : D - 2 * half;
  withFloat(x.dtype, [&](auto zero) {
    using X = decltype(zero);
    forSpans(call, x.rows(), pairs + rest,
             Rotate<X>{Rows<X>(x), Rows<X>(y), Rows<float>(cosSin), H, D, half, pairs, static_cast<float>(call.attribute(0)),
                       half % kSpan == 0});
  });
}

}  // namespace cd::cuda
