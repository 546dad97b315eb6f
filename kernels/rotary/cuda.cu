#include "../common/dispatch.h"
#include "cuda_rotate.h"

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

// A row is one head of one token.
template <class X>
struct Rotate {
  Rows<X> x, y;
  Turn turn;
  int64_t H, D;

  __device__ void operator()(int64_t row, int64_t start, int) const {
    if (start >= turn.pairs) {
      const int64_t from = 2 * turn.half + start - turn.pairs;
      X values[kSpan];
      // Only spans from 0 on are known to be aligned.
      Rows<X> source = x, target = y;
      source.packed = target.packed = false;
      const int count = static_cast<int>(D - from < kSpan ? D - from : kSpan);
      source.loadRaw(values, row, from, count);
      target.storeRaw(values, row, from, count);
      return;
    }
    X a[kSpan], b[kSpan];
    turn.load(a, b, x, row, start);
    turn.apply(a, b, row / H, start);
    turn.store(a, b, y, row, start);
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
  const Tensor &x = call[0], &y = call[2];
  const Turn turn(call[1], static_cast<float>(call.attribute(0)));
  const int64_t H = x.shape[1], D = x.shape[2], rest = y.data == x.data ? 0 : D - 2 * turn.half;
  withFloat(x.dtype, [&](auto zero) {
    using X = decltype(zero);
    forSpans(call, x.rows(), turn.pairs + rest, Rotate<X>{Rows<X>(x), Rows<X>(y), turn, H, D});
  });
}

}  // namespace cd::cuda
