#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;
constexpr int64_t kRowsPerBlock = 64;             // that share one partial gradient of the weight
constexpr int kColumns = 32 * kSpan, kLanes = 8;  // columns of one block that sums it, and how many rows it takes at once

// Threads that work on one row: a warp (narrow rows, 8 to a block) or a whole block. Chosen by the width alone, so that a row's
// result depends on nothing else.
template <bool Wide>
struct RowGroup {
  static constexpr int kSize = Wide ? kThreads : 32;
  __device__ static int64_t row() { return Wide ? blockIdx.x : int64_t{blockIdx.x} * (kThreads / 32) + warpIndex(); }
  __device__ static int rank() { return Wide ? static_cast<int>(threadIdx.x) : laneIndex(); }
  __device__ static float sum(float value) {
    if constexpr (Wide) return blockSum(value);
    else return warpSum(value);
  }
};

// body(start, count) for the spans of a row that fall to this thread.
template <class Group, class Body>
__device__ __forceinline__ void eachSpan(int64_t E, Body&& body) {
  for (int64_t start = int64_t{Group::rank()} * kSpan; start < E; start += int64_t{Group::kSize} * kSpan)
    body(start, static_cast<int>(E - start < kSpan ? E - start : kSpan));
}

// With Add, x = a + b is made on the way, as a thread will read it again; without, x is there, and so are neither a nor b.
template <class T, bool Wide, bool Add>
__global__ void __launch_bounds__(kThreads)
    forward(Rows<T> a, Rows<T> b, Rows<T> x, Rows<T> weight, Rows<T> y, float* invRms, int64_t rows, int64_t E, float eps) {
  using Group = RowGroup<Wide>;
  const int64_t row = Group::row();
  if (row >= rows) return;  // a whole group
  float squares = 0;
  eachSpan<Group>(E, [&](int64_t start, int count) {
    float values[kSpan];
    if constexpr (Add) {
      float others[kSpan];
      a.load(values, row, start, count);
      b.load(others, row, start, count);
#pragma unroll
      for (int i = 0; i < kSpan; ++i) values[i] = toFloat(fromFloat<T>(values[i] + others[i]));
      x.store(values, row, start, count);
    } else {
      x.load(values, row, start, count);
    }
#pragma unroll
    for (int i = 0; i < kSpan; ++i) squares = fmaf(values[i], values[i], squares);
  });
  const float r = 1.0f / sqrtf(Group::sum(squares) / static_cast<float>(E) + eps);
  if (Group::rank() == 0) invRms[row] = r;
  eachSpan<Group>(E, [&](int64_t start, int count) {
    float values[kSpan], w[kSpan];
    x.load(values, row, start, count);
    weight.load(w, 0, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) values[i] = toFloat(fromFloat<T>(values[i] * r)) * w[i];
    y.store(values, row, start, count);
  });
}

template <class T, bool Wide>
__global__ void __launch_bounds__(kThreads)
    backward(Rows<T> x, Rows<T> weight, const float* invRms, Rows<T> dy, Rows<T> dSum, Rows<T> dx, int64_t rows, int64_t E) {
  using Group = RowGroup<Wide>;
  const int64_t row = Group::row();
  if (row >= rows) return;  // a whole group
  float dot = 0;
  eachSpan<Group>(E, [&](int64_t start, int count) {
    float values[kSpan], w[kSpan], d[kSpan];
    x.load(values, row, start, count);
    weight.load(w, 0, start, count);
    dy.load(d, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) dot = fmaf(d[i] * w[i], values[i], dot);
  });
  const float r = invRms[row], mean = Group::sum(dot) * r * r / static_cast<float>(E);
  eachSpan<Group>(E, [&](int64_t start, int count) {
    float values[kSpan], w[kSpan], d[kSpan];
    x.load(values, row, start, count);
    weight.load(w, 0, start, count);
    dy.load(d, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) values[i] = (d[i] * w[i] - values[i] * mean) * r;
    if (dSum.data) {
      dSum.load(d, row, start, count);
#pragma unroll
      for (int i = 0; i < kSpan; ++i) values[i] = d[i] + values[i];
    }
    dx.store(values, row, start, count);
  });
}

// partial[block][column] = Σ dy·x·r over the block's 64 rows: 8 threads sum every eighth row each, then one adds the 8 sums.
template <class T>
__global__ void __launch_bounds__(kThreads)
    weightPartial(Rows<T> x, const float* invRms, Rows<T> dy, float* partial, int64_t rows, int64_t E) {
  SHARED(float[kLanes][kColumns], sums);
  const int64_t start = int64_t{blockIdx.y} * kColumns + threadIdx.x * kSpan, first = blockIdx.x * kRowsPerBlock;
  const int count = static_cast<int>(E - start < kSpan ? E - start : kSpan);
  float sum[kSpan] = {};
  for (int64_t row = first + threadIdx.y; row < rows && row < first + kRowsPerBlock && count > 0; row += kLanes) {
    const float r = invRms[row];
    float values[kSpan], d[kSpan];
    x.load(values, row, start, count);
    dy.load(d, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) sum[i] += d[i] * values[i] * r;
  }
#pragma unroll
  for (int i = 0; i < kSpan; ++i) sums[threadIdx.y][threadIdx.x * kSpan + i] = sum[i];
  __syncthreads();
  const int column = static_cast<int>(threadIdx.y * 32 + threadIdx.x);
  const int64_t place = int64_t{blockIdx.y} * kColumns + column;
  if (place >= E) return;
  float total = 0;
#pragma unroll
  for (int lane = 0; lane < kLanes; ++lane) total += sums[lane][column];
  partial[blockIdx.x * E + place] = total;
}

// dWeight += Σ partial, blocks in order.
__global__ void __launch_bounds__(kThreads) addPartial(const float* partial, int64_t blocks, int64_t E, float* dWeight) {
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= E) return;
  float total = dWeight[column];
  for (int64_t block = 0; block < blocks; ++block) total += partial[block * E + column];
  dWeight[column] = total;
}

constexpr int64_t kWideRow = 1024;

unsigned groups(int64_t rows, bool wide) { return static_cast<unsigned>(wide ? rows : ceilDiv(rows, kThreads / 32)); }

template <bool Add>
void launchForward(const Call& call, const Tensor& a, const Tensor& b, const Tensor& x, const Tensor& weight, const Tensor& y,
                   const Tensor& invRms) {
  const int64_t rows = x.rows(), E = x.cols();
  const bool wide = E > kWideRow;
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, groups(rows, wide), kThreads, 0, wide ? forward<T, true, Add> : forward<T, false, Add>, Rows<T>(a), Rows<T>(b),
           Rows<T>(x), Rows<T>(weight), Rows<T>(y), invRms.as<float>(), rows, E, static_cast<float>(call.attribute(0)));
  });
}
}  // namespace

void rms_norm(const Call& call) { launchForward<false>(call, {}, {}, call[0], call[1], call[2], call[3]); }

void add_rms_norm(const Call& call) { launchForward<true>(call, call[0], call[1], call[3], call[2], call[4], call[5]); }

void rms_norm_backward(const Call& call) {
  const Tensor &x = call[0], &weight = call[1], &invRms = call[2], &dy = call[3], &dx = call[4], &dWeight = call[5],
               &dSum = call[6];
  const int64_t rows = x.rows(), E = x.cols(), blocks = ceilDiv(rows, kRowsPerBlock);
  const bool wide = E > kWideRow;
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    if (dWeight.present && rows > 0 && E > 0) {
      float* partial = call.scratch<float>(blocks * E);
      launch(call, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(ceilDiv(E, kColumns))), dim3(32, kLanes), 0,
             weightPartial<T>, Rows<T>(x), invRms.as<float>(), Rows<T>(dy), partial, rows, E);
      launch(call, static_cast<unsigned>(ceilDiv(E, kThreads)), kThreads, 0, addPartial, partial, blocks, E, dWeight.as<float>());
    }
    launch(call, groups(rows, wide), kThreads, 0, wide ? backward<T, true> : backward<T, false>, Rows<T>(x), Rows<T>(weight),
           invRms.as<float>(), Rows<T>(dy), Rows<T>(dSum), Rows<T>(dx), rows, E);
  });
}

}  // namespace cd::cuda
