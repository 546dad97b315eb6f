#include "../common/dispatch.h"
#include "../common/product.h"
#include "../common/stream.h"
#include "../common/turned.h"

namespace cd::cpu {
using namespace units;

namespace {
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
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const bool transposeA = call.attribute(0) != 0, transposeB = call.attribute(1) != 0, accumulate = call.attribute(2) != 0;
  const float alpha = static_cast<float>(call.attribute(3));
  const int64_t M = c.shape[0], N = c.shape[1], K = a.shape[transposeA ? 0 : 1];
  if (M == 0 || N == 0) return;
  if (transposeB && M <= kTurnedRows) return multiplyWhileReading<T, C>(call, M, N, K, transposeA, alpha, accumulate);
  if (transposeB && M <= kFewRows) return multiplyFewRows<T, C>(call, M, N, K, transposeA, alpha, accumulate);
  multiplyPanels<T, C>(call, {a, transposeA, K}, Right<T>{b.as<T>(), b.rowStride, transposeB}, {c, alpha, accumulate});
}
}  // namespace

void matmul(const Call& call) {
  withFloat(call[0].dtype, [&](auto t) { withFloat(call[2].dtype, [&](auto c) { multiply<decltype(t), decltype(c)>(call); }); });
}

}  // namespace cd::cpu
