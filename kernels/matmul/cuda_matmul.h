// The two ways to a matrix product on a GPU. Contract and arguments: matmul.h.
#pragma once

#include "../../native/kernel.h"

namespace cd::cuda {

constexpr int64_t kProductWorkspace = int64_t{32} << 20;  // bytes that cuBLASLt may use
constexpr int64_t kFewestRows = 16;                       // M is padded to this, below which cuBLASLt would leave tensor cores

void matmul(const Call& call);               // the operation: whichever fits
void multiplyPlain(const Call& call);        // the kernels of this project
bool multiplyWithLibrary(const Call& call);  // cuBLASLt; false: it is not there, or not for these arguments

// A product inside another operation, whose call it borrows: c (+)= alpha · op(a) · op(b).
struct Multiplication {
  Tensor a, b, c;
  bool transposeA, transposeB, accumulate;
  float alpha = 1;
};
// `work`: productScratch bytes of the call's own scratch memory, aligned to 256.
void multiply(const Call& call, const Multiplication& product, void* work);
// What products with sides of up to these take.
int64_t productScratch(int64_t M, int64_t N, int64_t K);

// Rows first … first + count of a matrix.
inline Tensor rowsOf(Tensor matrix, int64_t first, int64_t count) {
  matrix.data = matrix.as<char>() + first * matrix.rowStride * dtypeSize(matrix.dtype);
  matrix.shape[0] = count;
  return matrix;
}

}  // namespace cd::cuda
