// One launch over the spans of many tensors of one dtype: a block takes a run of them, which lies in one tensor.
#pragma once

#include "cuda_groups.h"
#include "cuda_spans.h"

namespace cd::cuda {

constexpr int kRunThreads = 256;
constexpr int kSpansPerThread = 8;
constexpr int64_t kSpansPerRun = int64_t{kRunThreads} * kSpansPerThread;

// A tensor as rows of spans; as one row where it is contiguous.
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
  int64_t runs() const { return ceilDiv(rows * spansPerRow, kSpansPerRun); }
};

// body(part, row, start, count) for the spans of this thread in this block's run.
template <class T, class Body>
__device__ __forceinline__ void forRun(const GroupTable<Part<T>>& table, Body&& body) {
  const int index = table.groupOf(blockIdx.x);
  const Part<T>& part = table.group[index];
  const int64_t run = blockIdx.x - table.firstPiece[index];
  for (int i = 0; i < kSpansPerThread; ++i) {
    const int64_t span = run * kSpansPerRun + int64_t{i} * kRunThreads + threadIdx.x;
    const int64_t row = part.rows == 1 ? 0 : span / part.spansPerRow, start = (span - row * part.spansPerRow) * kSpan;
    if (row >= part.rows || start >= part.cols) continue;
    body(part, row, start, static_cast<int>(part.cols - start < kSpan ? part.cols - start : kSpan));
  }
}

// launchRuns(table) for the tensors [first, first + call.groups) of the call, as many at a time as a launch takes.
template <class T, class Run>
inline void forParts(const Call& call, int first, Run launchRuns) {
  const auto partOf = [&](int group) { return Part<T>(call[first + group]); };
  forTables<Part<T>>(call, partOf, [&](int group) { return partOf(group).runs(); }, launchRuns);
}

}  // namespace cd::cuda
