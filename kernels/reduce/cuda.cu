#include "../common/cuda_groups.h"
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

template <class T>
struct Part {
  Rows<T> x;
  int64_t rows, cols, spansPerRow;

  Part() = default;
  explicit Part(const Tensor& tensor) : x(tensor) {
    const bool flat = tensor.contiguous();
    rows = flat ? 1 : tensor.rows();
    cols = flat ? tensor.elements() : tensor.cols();
    spansPerRow = ceilDiv(cols, kSpan);
  }
  int64_t runs() const { return ceilDiv(rows * spansPerRow, kRun); }
};

// partial[run] = Σ term(x) over the run's spans.
template <class T, class Term>
__global__ void __launch_bounds__(kThreads) sumRuns(GRID_CONSTANT(GroupTable<Part<T>>) table, Term term, double* partial) {
  const int index = table.groupOf(blockIdx.x);
  const Part<T>& part = table.group[index];
  const int64_t run = blockIdx.x - table.firstPiece[index];
  float sum = 0;
  for (int i = 0; i < kSpansPerThread; ++i) {
    const int64_t span = run * kRun + int64_t{i} * kThreads + threadIdx.x;
    const int64_t row = part.rows == 1 ? 0 : span / part.spansPerRow, start = (span - row * part.spansPerRow) * kSpan;
    if (row >= part.rows || start >= part.cols) continue;
    const int count = static_cast<int>(part.cols - start < kSpan ? part.cols - start : kSpan);
    float values[kSpan];
    part.x.load(values, row, start, count);  // zeros beyond count
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

// Over the tensors [first, first + call.groups) of the call.
template <class Term>
void total(const Call& call, int first, Term term, bool accumulate, float* y) {
  withFloat(call[first].dtype, [&](auto zero) {
    using T = decltype(zero);
    int64_t runs = 0;
    for (int group = 0; group < call.groups; ++group) runs += Part<T>(call[first + group]).runs();
    double* partial = runs > 0 ? call.scratch<double>(runs) : nullptr;
    double* next = partial;
    const auto partOf = [&](int group) { return Part<T>(call[first + group]); };
    forTables<Part<T>>(
        call, partOf, [&](int group) { return partOf(group).runs(); },
        [&](const GroupTable<Part<T>>& table) {
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
