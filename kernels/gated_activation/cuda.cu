#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <class T>
struct SiluMul {
  Rows<T> gate, up, y;
  __device__ void operator()(int64_t row, int64_t start, int count) const {
    float g[kSpan], u[kSpan];
    gate.load(g, row, start, count);
    up.load(u, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) u[i] *= g[i] * sigmoid(g[i]);
    y.store(u, row, start, count);
  }
};

template <class T>
struct SiluMulBackward {
  Rows<T> gate, up, dy, dGate, dUp;
  __device__ void operator()(int64_t row, int64_t start, int count) const {
    float g[kSpan], u[kSpan], d[kSpan];
    gate.load(g, row, start, count);
    up.load(u, row, start, count);
    dy.load(d, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      const float s = sigmoid(g[i]), dg = d[i] * u[i] * (s * fmaf(g[i], 1.0f - s, 1.0f));
      u[i] = d[i] * (g[i] * s);
      g[i] = dg;
    }
    dGate.store(g, row, start, count);
    dUp.store(u, row, start, count);
  }
};
}  // namespace

void silu_mul(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1, 2}), SiluMul<T>{Rows<T>(call[0]), Rows<T>(call[1]), Rows<T>(call[2])});
  });
}

void silu_mul_backward(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1, 2, 3, 4}),
             SiluMulBackward<T>{Rows<T>(call[0]), Rows<T>(call[1]), Rows<T>(call[2]), Rows<T>(call[3]), Rows<T>(call[4])});
  });
}

}  // namespace cd::cuda
