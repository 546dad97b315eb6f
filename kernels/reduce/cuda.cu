#include "../common/cuda_group_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = kRunThreads;

struct Plain {
  __device__ float operator()(float x) const { return x; }
};
struct Square {
  __device__ float operator()(float x) const { return x * x; }
};

// partial[run] = Σ term(x) over the run's spans: a thread sums its 64 elements in f32, all others are f64.
template <class T, class Term>
__global__ void __launch_bounds__(kThreads) sumRuns(GRID_CONSTANT(GroupTable<Part<T>>) table, Term term, double* partial) {
  float sum = 0;
  forRun<T>(table, [&](const Part<T>& part, int64_t row, int64_t start, int count) {
    float values[kSpan];
    part.x.load(values, row, start, count);  // zeros beyond count
#pragma unroll
    for (int j = 0; j < kSpan; ++j) sum += term(values[j]);
  });
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

// Over the tensors [first, first + call.groups) of the call.
template <class Term>
void total(const Call& call, int first, Term term, bool accumulate, float* y) {
  withFloat(call[first].dtype, [&](auto zero) {
    using T = decltype(zero);
    int64_t runs = 0;
    for (int group = 0; group < call.groups; ++group) runs += Part<T>(call[first + group]).runs();
    double* partial = runs > 0 ? call.scratch<double>(runs) : nullptr;
    double* next = partial;
    forParts<T>(call, first, [&](const GroupTable<Part<T>>& table) {
      launch(call, static_cast<unsigned>(table.pieces), kThreads, 0, sumRuns<T, Term>, table, term, next);
      next += table.pieces;
    });
    launch(call, 1, kThreads, 0, sumPartial, partial, runs, accumulate, y);
  });
}

__global__ void clipFactor(const float* sumSquares, float maxNorm, float* norm, float* factor) {
  const float root = sqrtf(*sumSquares), clipped = maxNorm / (root + 1e-6f);
  *norm = root;
  *factor = maxNorm <= 0 || clipped > 1 ? 1.0f : clipped;
}
}  // namespace

void sum(const Call& call) { total(call, 0, Plain{}, false, call[1].as<float>()); }

void sum_squares(const Call& call) { total(call, 1, Square{}, true, call[0].as<float>()); }

void clip_factor(const Call& call) {
  launch(call, 1, 1, 0, clipFactor, call[0].as<float>(), static_cast<float>(call.attribute(0)), call[1].as<float>(),
         call[2].as<float>());
}

}  // namespace cd::cuda
