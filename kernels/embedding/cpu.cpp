#include "../common/dispatch.h"
#include "../common/elementwise.h"

namespace cd::cpu {

namespace {
constexpr int64_t kColumns = 256;

void expectIds(const Call& call, const Tensor& ids, int64_t V) {
  for (int64_t n = 0; n < ids.elements(); ++n) {
    const int32_t id = ids.as<int32_t>()[n];
    if (id < -2 || id >= V) throw Error(call.op->explain(call, {1, 0, {id, n}}));
  }
}
}  // namespace

void embedding(const Call& call) {
  const Tensor &table = call[0], &ids = call[1], &y = call[2];
  expectIds(call, ids, table.shape[0]);
  const int64_t size = dtypeSize(table.dtype);
  forSpans(call, y, false, [&](int64_t row, int64_t start, int64_t count) {
    char* const target = y.as<char>() + (row * y.rowStride + start) * size;
    const int64_t id = ids.as<int32_t>()[row];
    if (id < 0) std::memset(target, 0, count * size);
    else std::memcpy(target, table.as<char>() + (id * table.rowStride + start) * size, count * size);
  });
}

void embedding_backward(const Call& call) {
  const Tensor &ids = call[0], &dy = call[1], &dTable = call[2];
  const int64_t N = ids.elements(), E = dy.cols();
  expectIds(call, ids, dTable.shape[0]);
  // Small work is one task.
  const int64_t width = N * E <= kSpanElements ? E : kColumns;
  if (N == 0 || E == 0) return;
  withFloat(dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallelFor((E + width - 1) / width, [&](int64_t task, int) {
      const int64_t start = task * width, count = E - start < width ? E - start : width;
      for (int64_t n = 0; n < N; ++n) {
        const int64_t id = ids.as<int32_t>()[n];
        if (id < 0) continue;
        float* target = dTable.row<float>(id) + start;
        map(count, target, [](simd::Vec sum, simd::Vec d) { return sum + d; }, target, dy.row<T>(n) + start);
      }
    });
  });
}

void local_ids(const Call& call) {
  const Tensor &ids = call[0], &y = call[1];
  const auto first = static_cast<int64_t>(call.attribute(0)), rows = static_cast<int64_t>(call.attribute(1));
  const auto vocabulary = static_cast<int64_t>(call.attribute(2));
  for (int64_t n = 0; n < ids.elements(); ++n) {
    const int64_t id = ids.as<int32_t>()[n];
    if (id < -1 || id >= vocabulary) throw Error(call.op->explain(call, {1, 0, {id, n}}));
    y.as<int32_t>()[n] = static_cast<int32_t>(id == -1 ? -1 : id < first || id >= first + rows ? -2 : id - first);
  }
}

}  // namespace cd::cpu
