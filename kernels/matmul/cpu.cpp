#include "../common/dispatch.h"
#include "../common/stream.h"
#include "../common/turned.h"

namespace cd::cpu {
using namespace units;

namespace {
constexpr int64_t kPackRows = 64;  // rows of A that one task brings into unit form

// A in unit form: in place where its K runs along memory in whole units of the right type.
template <class T, class U>
bool inPlace(bool transposed, int64_t K) {
  return !transposed && sizeof(T) * kPerUnit<U> == sizeof(U) && K % kPerUnit<U> == 0;
}

template <class T, class U>
void packLeft(const Call& call, const Tensor& a, bool transposed, int64_t M, int64_t K, U* target) {
  const int64_t stride = unitCount<U>(K);
  call.parallelFor((M + kPackRows - 1) / kPackRows, [&](int64_t task, int) {
    const int64_t row = task * kPackRows, rows = std::min(kPackRows, M - row);
    if (transposed) transposeRows<U>(a.as<T>() + row, a.rowStride, rows, K, target + row * stride, stride);
    else copyRows<U>(a.row<T>(row), a.rowStride, rows, K, target + row * stride, stride);
  });
}

// One row of a finished tile into C.
template <class C>
void write(C* c, const float* sums, int64_t columns, float alpha, bool accumulate) {
  // The row's next panel: rows of a wide c lie too far apart for prefetch units to see a pattern.
  for (int64_t j = 0; j < kPanel * static_cast<int64_t>(sizeof(C)); j += 64)
    __builtin_prefetch(reinterpret_cast<char*>(c + kPanel) + j, 1, 2);
  int64_t i = 0;
  for (; i + kWidth <= columns; i += kWidth) {
    const Vec product = load(sums + i) * alpha;
    store(c + i, accumulate ? load(c + i) + product : product);
  }
  for (; i < columns; ++i) c[i] = fromFloat<C>(accumulate ? toFloat(c[i]) + sums[i] * alpha : sums[i] * alpha);
}

template <class T, class C>
void multiplyFewRows(const Call& call, int64_t M, int64_t N, int64_t K, bool transposeA, float alpha, bool accumulate) {
  using U = Unit<T>;
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const int64_t workers = call.parallel->workers(), groups = (N + kGroup - 1) / kGroup;
  const int64_t groupsPerTask = std::clamp<int64_t>(groups / (8 * workers), 1, 16);
  const int64_t workspace = (streamWorkspace<U>(K) + 15) / 16 * 16;
  U* const scratch = call.scratch<U>(workers * workspace + FewRows<U>::size(M, K));
  const FewRows<U> few{M, K, scratch + workers * workspace};
  const Right<T> rows{a.as<T>(), a.rowStride, !transposeA};
  call.parallelFor(panelCount(M), [&](int64_t panel, int) { few.pack(panel, rows); });
  call.parallelFor((groups + groupsPerTask - 1) / groupsPerTask, [&](int64_t task, int worker) {
    const int64_t from = task * groupsPerTask * kGroup, to = std::min(N, from + groupsPerTask * kGroup);
    streamRows(few, b.as<T>(), b.rowStride, from, to, scratch + worker * workspace,
               [&](int64_t row, int64_t column, int64_t columns, const float* sums) {
                 write(c.row<C>(row) + column, sums, columns, alpha, accumulate);
               });
  });
}

// So few rows that reading b is the work.
template <class T, class C>
void multiplyWhileReading(const Call& call, int64_t M, int64_t N, int64_t K, bool transposeA, float alpha, bool accumulate) {
  using U = Unit<T>;
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const int64_t groups = (N + kWidth - 1) / kWidth;
  const int64_t groupsPerTask = std::clamp<int64_t>(groups / (int64_t{8} * call.parallel->workers()), 1, 32);
  U* const few = call.scratch<U>(M * unitCount<U>(K));
  packLeft<T, U>(call, a, transposeA, M, K, few);
  call.parallelFor((groups + groupsPerTask - 1) / groupsPerTask, [&](int64_t task, int) {
    const int64_t from = task * groupsPerTask * kWidth, to = std::min(N, from + groupsPerTask * kWidth);
    multiplyTurnedRows<U>(few, M, K, b.as<T>(), b.rowStride, from, to,
                          [&](int64_t row, int64_t column, int64_t columns, const float* sums) {
                            write(c.row<C>(row) + column, sums, columns, alpha, accumulate);
                          });
  });
}

template <class T, class C>
void multiply(const Call& call) {
  using U = Unit<T>;
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const bool transposeA = call.attribute(0) != 0, transposeB = call.attribute(1) != 0, accumulate = call.attribute(2) != 0;
  const float alpha = static_cast<float>(call.attribute(3));
  const int64_t M = c.shape[0], N = c.shape[1], K = a.shape[transposeA ? 0 : 1];
  if (M == 0 || N == 0) return;
  if (transposeB && M <= kTurnedRows) return multiplyWhileReading<T, C>(call, M, N, K, transposeA, alpha, accumulate);
  if (transposeB && M <= kFewRows) return multiplyFewRows<T, C>(call, M, N, K, transposeA, alpha, accumulate);

  const bool direct = inPlace<T, U>(transposeA, K);
  const Tasks tasks(M, N, call.parallel->workers());
  const int64_t workspace = workspaceSize<U>(tasks.rows, tasks.panels, K);
  const int64_t packed = direct ? 0 : (M * unitCount<U>(K) + 15) / 16 * 16;
  float* const scratch = call.scratch<float>(call.parallel->workers() * workspace + packed);
  U* const packedA = reinterpret_cast<U*>(scratch + call.parallel->workers() * workspace);
  if (!direct) packLeft<T, U>(call, a, transposeA, M, K, packedA);
  const Left left =
      leftRows<U>(direct ? a.data : packedA, direct ? a.rowStride * static_cast<int64_t>(sizeof(T)) : unitCount<U>(K) * 4);

  const Right<T> right{b.as<T>(), b.rowStride, transposeB};
  call.parallelFor(tasks.count(), [&](int64_t task, int worker) {
    const auto emit = [&](int64_t row, int64_t column, int64_t columns, const float* sums) {
      write(c.row<C>(row) + column, sums, columns, alpha, accumulate);
    };
    multiplyPart<U>(left, right, tasks.part(task, M, N), N, K, scratch + worker * workspace, emit);
  });
}
}  // namespace

void matmul(const Call& call) {
  withFloat(call[0].dtype, [&](auto t) { withFloat(call[2].dtype, [&](auto c) { multiply<decltype(t), decltype(c)>(call); }); });
}

}  // namespace cd::cpu
