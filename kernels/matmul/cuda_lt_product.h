// A matrix product as cuBLASLt wants it.
#pragma once

#include <algorithm>

#include "cuda_lt.h"

namespace cd::cuda::lt {

// A row-major matrix is a column-major one transposed, so cuBLASLt computes cᵀ = op(b)ᵀ · op(a)ᵀ: its A is b, its B is a.
struct Product {
  const void *a, *b;
  void* c;
  int64_t M, N, K, aStride, bStride, cStride;
  bool transposeA, transposeB;
  DataType input, output;
};
inline int64_t sizeOf(DataType type) { return type == kF32 ? 4 : 2; }

// Layouts live as long as one call.
struct Layout {
  void* handle = nullptr;
  Layout(DataType type, int64_t rows, int64_t columns, int64_t leading) {
    expect(Interface::get().layoutCreate(&handle, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), leading),
           "making a layout");
  }
  Layout(const Layout&) = delete;
  ~Layout() { Interface::get().layoutDestroy(handle); }
};
struct Layouts {
  Layout b, a, c;
  // M may be more than the matrix has, to ask for an algorithm.
  Layouts(const Product& p, int64_t M)
      : b(p.input, p.transposeB ? p.K : p.N, p.transposeB ? p.N : p.K, p.bStride),
        a(p.input, p.transposeA ? M : p.K, p.transposeA ? p.K : M, p.transposeA ? std::max(p.aStride, M) : p.aStride),
        c(p.output, p.N, M, p.cStride) {}
};

inline uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return bits % 256 == 0 ? 256 : static_cast<uint32_t>(bits & -bits);
}

}  // namespace cd::cuda::lt
