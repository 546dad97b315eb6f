// Matrix products on GPUs. cuBLASLt does them where it can be had and takes the shape (cuda_lt.cpp); the kernels of cuda_tiles.h
// do the others, and all of them in emulation.
#include "cuda_matmul.h"
#include "cuda_tiles.h"

namespace cd::cuda {

void multiplyPlain(const Call& call) {
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  const bool leftAcrossK = call.attribute(0) != 0, rightAcrossK = call.attribute(1) == 0;
  const int64_t K = a.shape[leftAcrossK ? 0 : 1];
  const Output output{c.data,
                      c.rowStride,
                      c.shape[0],
                      c.shape[1],
                      static_cast<float>(call.attribute(3)),
                      call.attribute(2) != 0,
                      c.dtype == DType::BF16};
  if (a.dtype == DType::F32) return launchFloat(call, linesOf<float>(a), leftAcrossK, linesOf<float>(b), rightAcrossK, output, K);
  const auto left = linesOf<BFloat16>(a), right = linesOf<BFloat16>(b);
  if (leftAcrossK && rightAcrossK) launchBFloat16<true, true>(call, left, right, output, K);
  else if (leftAcrossK) launchBFloat16<true, false>(call, left, right, output, K);
  else if (rightAcrossK) launchBFloat16<false, true>(call, left, right, output, K);
  else launchBFloat16<false, false>(call, left, right, output, K);
}

namespace {
// Memory that another operation has put aside.
class Borrowed : public Scratch {
 public:
  Borrowed(void* memory, int64_t bytes) : memory_(memory), bytes_(bytes) {}
  void* reserve(int64_t bytes) override {
    if (bytes > bytes_) throw Error("a product inside an operation needs " + std::to_string(bytes) + " bytes of scratch memory");
    return memory_;
  }

 private:
  void* memory_;
  int64_t bytes_;
};
}  // namespace

int64_t productScratch(int64_t M, int64_t N, int64_t K) {
  const int64_t longest = max(max(M, N), K);
  return kProductWorkspace + 2 * kFewestRows * (longest * 4 + 256);
}

void multiply(const Call& call, const Multiplication& product, void* work) {
  const Tensor tensors[] = {product.a, product.b, product.c};
  const double attributes[] = {product.transposeA ? 1.0 : 0.0, product.transposeB ? 1.0 : 0.0, product.accumulate ? 1.0 : 0.0,
                               product.alpha};
  Borrowed scratch(work, productScratch(product.c.shape[0], product.c.shape[1], product.a.shape[product.transposeA ? 0 : 1]));
  Call inner = call;
  inner.tensors = tensors;
  inner.attributes = attributes;
  inner.scratchMemory = &scratch;
  matmul(inner);
}

void matmul(const Call& call) {
  if (!multiplyWithLibrary(call)) multiplyPlain(call);
}

}  // namespace cd::cuda
