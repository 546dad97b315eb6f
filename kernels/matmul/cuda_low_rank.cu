// A product with a second one of low rank beside it. On Hopper they are one, whose K goes on over the rank; elsewhere two, summed
// in f32 for some rows at a time.
#include "../common/cuda_hopper_product.h"
#include "../common/cuda_spans.h"
#include "../common/dispatch.h"
#include "cuda_matmul.h"

namespace cd::cuda {

namespace {
constexpr int64_t kRowsAtOnce = 2048;  // whose sums in f32 wait in scratch memory

// y = x, in another dtype.
template <class X, class Y>
struct Convert {
  Rows<X> x;
  Rows<Y> y;
  __device__ __forceinline__ void operator()(int64_t row, int64_t start, int count) const {
    float values[kSpan];
    x.load(values, row, start, count);
    y.store(values, row, start, count);
  }
};
template <class X, class Y>
void convert(const Call& call, const Tensor& x, const Tensor& y) {
  forSpans(call, x.shape[0], x.shape[1], Convert<X, Y>{Rows<X>(x), Rows<Y>(y)});
}

void multiplyTwice(const Call& call) {
  const Tensor &a = call[0], &b = call[1], &inner = call[2], &outer = call[3], &c = call[4];
  const bool transposed = call.attribute(0) != 0, accumulate = call.attribute(1) != 0, waits = c.dtype != DType::F32;
  const int64_t M = c.shape[0], N = c.shape[1], rows = M < kRowsAtOnce ? M : kRowsAtOnce;
  const int64_t bytes = waits ? ceilDiv(rows * N * 4, 256) * 256 : 0;
  const int64_t K = a.shape[1] < inner.shape[1] ? inner.shape[1] : a.shape[1];
  char* const memory = call.scratch<char>(bytes + productScratch(rows, N, K));
  for (int64_t first = 0; first < M; first += rows) {
    const int64_t count = M - first < rows ? M - first : rows;
    const Tensor target = rowsOf(c, first, count);
    Tensor sums = target;
    if (waits) {
      sums.data = memory;
      sums.dtype = DType::F32;
      sums.rowStride = N;
      if (accumulate) convert<BFloat16, float>(call, target, sums);
    }
    multiply(call, {rowsOf(a, first, count), b, sums, false, transposed, accumulate}, memory + bytes);
    multiply(call, {rowsOf(inner, first, count), outer, sums, false, transposed, true, static_cast<float>(call.attribute(2))},
             memory + bytes);
    if (waits) convert<float, BFloat16>(call, sums, target);
  }
}

// --- Hopper -----------------------------------------------------------------------------------------------------------------
template <Operand kRight>
void multiplyOnce(const Call& call) {
  const Tensor& c = call[4];
  product::Operands<2> operands{};
  operands.factor = static_cast<float>(call.attribute(2));
  product::setPair<2, kRight>(operands, 0, call[2], call[3]);
  product::setPair<2, kRight>(operands, 1, call[0], call[1]);
  const int64_t stride = c.shape[0] > 1 ? c.rowStride : 0;
  product::launchProduct<2, kRight>(call, operands, c.shape[0], c.shape[1],
                                    product::StoreTile{c.as<BFloat16>(), stride, c.shape[0], c.shape[1], call.attribute(1) != 0});
}

bool takesHopper(const Call& call) {
  if (call.attribute(3) == 0 || !hopperKernels()) return false;
  for (int index = 0; index < 5; ++index)
    if (call[index].dtype != DType::BF16 || call[index].elements() == 0 || !packable(call[index])) return false;
  return true;
}
}  // namespace

void matmul_low_rank(const Call& call) {
  if (call[4].elements() == 0) return;
  if (!takesHopper(call)) multiplyTwice(call);
  else if (call.attribute(0) != 0) multiplyOnce<Operand::AlongK>(call);
  else multiplyOnce<Operand::AcrossK>(call);
}

}  // namespace cd::cuda
