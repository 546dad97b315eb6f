#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;
constexpr int kSpansPerThread = 8;  // so a thread sums 64 elements in f32, and all others are f64
constexpr int64_t kRun = int64_t{kThreads} * kSpansPerThread;

struct Plain {
  __device__ float operator()(float x) const { return x; }
};
struct Square {
  __device__ float operator()(float x) const { return x * x; }
};

// partial[run] = Σ term(x) over the run's spans.
template <class T, class Term>
__global__ void __launch_bounds__(kThreads)
    sumRuns(Rows<T> x, int64_t rows, int64_t cols, int64_t spansPerRow, Term term, double* partial) {
  float sum = 0;
  for (int i = 0; i < kSpansPerThread; ++i) {
    const int64_t span = blockIdx.x * kRun + int64_t{i} * kThreads + threadIdx.x;
    const int64_t row = rows == 1 ? 0 : span / spansPerRow, start = (span - row * spansPerRow) * kSpan;
    if (row >= rows || start >= cols) continue;
    const int count = static_cast<int>(cols - start < kSpan ? cols - start : kSpan);
    float values[kSpan];
    x.load(values, row, start, count);  // zeros beyond count
#pragma unroll
    for (int j = 0; j < kSpan; ++j) sum += term(values[j]);
  }
  const double total = blockSum(static_cast<double>(sum));
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

// y = Σ partial, added to what is there if `accumulate`.
__global__ void __launch_bounds__(kThreads) sumPartial(const double* partial, int64_t runs, bool accumulate, float* y) {
  double sum = 0;
  for (int64_t run = threadIdx.x; run < runs; run += kThreads) sum += partial[run];
  sum = blockSum(sum);
  if (threadIdx.x == 0) *y = static_cast<float>(accumulate ? *y + sum : sum);
}

template <class Term>
void total(const Call& call, Term term, bool accumulate) {
  const Tensor& x = call[0];
  const bool flat = x.contiguous();
  const int64_t rows = flat ? 1 : x.rows(), cols = flat ? x.elements() : x.cols();
  const int64_t spansPerRow = ceilDiv(cols, kSpan), runs = ceilDiv(rows * spansPerRow, kRun);
  double* partial = runs > 0 ? call.scratch<double>(runs) : nullptr;
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, static_cast<unsigned>(runs), kThreads, 0, sumRuns<T, Term>, Rows<T>(x), rows, cols, spansPerRow, term, partial);
  });
  launch(call, 1, kThreads, 0, sumPartial, partial, runs, accumulate, call[1].as<float>());
}

__global__ void clipFactor(const float* sumSquares, float maxNorm, float* norm, float* factor) {
  const float root = sqrtf(*sumSquares), clipped = maxNorm / (root + 1e-6f);
  *norm = root;
  *factor = maxNorm <= 0 || clipped > 1 ? 1.0f : clipped;
}
}  // namespace

void sum(const Call& call) { total(call, Plain{}, false); }

void sum_squares(const Call& call) { total(call, Square{}, true); }

void clip_factor(const Call& call) {
  launch(call, 1, 1, 0, clipFactor, call[0].as<float>(), static_cast<float>(call.attribute(0)), call[1].as<float>(),
         call[2].as<float>());
}

}  // namespace cd::cuda
