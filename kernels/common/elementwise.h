// Elementwise work: how it is cut into tasks, and one loop that does the vectors and the tail alike.
#pragma once

#include "simd.h"

namespace cd {

// A task works on about this many elements: long enough to be worth waking a thread, short enough to balance.
constexpr int64_t kSpanElements = 32768;

inline bool allContiguous(const Call& call, std::initializer_list<int> indices) {
  for (int index : indices)
    if (call[index].present && !call[index].contiguous()) return false;
  return true;
}

// The pieces of a tensor. Flat (every tensor contiguous): the whole is one row. Otherwise pieces are parts of one row
// (long rows) or several whole rows (short ones). The cut depends on the shape alone, never on the number of threads.
struct Spans {
  int64_t rows, cols, perRow, rowsPerTask;

  Spans(const Tensor& tensor, bool flat) : rows(flat ? 1 : tensor.rows()), cols(flat ? tensor.elements() : tensor.cols()) {
    if (rows == 0 || cols == 0) rows = cols = 0;
    perRow = (cols + kSpanElements - 1) / kSpanElements;
    rowsPerTask = perRow > 1 || cols == 0 ? 1 : kSpanElements / cols;
  }
  int64_t tasks() const { return perRow > 1 ? rows * perRow : (rows + rowsPerTask - 1) / rowsPerTask; }

  // body(row, start, count) for every piece of a task, in order.
  template <class Body>
  void each(int64_t task, Body&& body) const {
    if (perRow > 1) {
      const int64_t start = task % perRow * kSpanElements;
      body(task / perRow, start, cols - start < kSpanElements ? cols - start : kSpanElements);
    } else {
      for (int64_t row = task * rowsPerTask; row < rows && row < (task + 1) * rowsPerTask; ++row) body(row, int64_t{0}, cols);
    }
  }
};

// body(row, start, count) for every piece of the tensor, in parallel.
template <class Body>
inline void forSpans(const Call& call, const Tensor& tensor, bool flat, Body&& body) {
  const Spans spans(tensor, flat);
  if (spans.tasks() > 0) call.parallelFor(spans.tasks(), [&](int64_t task, int) { spans.each(task, body); });
}

// y[i] = function(x[i], …): the tail goes through the same vector function, so an element's bits do not depend on its place.
template <class Y, class Function, class... X>
inline void map(int64_t count, Y* y, Function&& function, const X*... x) {
  using namespace simd;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(y + i, function(load(x + i)...));
  if (i < count) storeTail(y + i, function(loadTail(x + i, count - i)...), count - i);
}

}  // namespace cd
