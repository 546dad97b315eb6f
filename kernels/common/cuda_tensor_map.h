// What the copy engine is told of a tensor: where it lies, its sizes and strides, and the box that one copy takes. Made on the
// host, passed by value to a kernel's parameter of type `const __grid_constant__ TensorMap`.
#pragma once

#include <cstdint>

#include "../../native/kernel.h"

namespace cd::cuda {

// A tensor of up to five dimensions, innermost first.
struct TensorBox {
  const void* base;  // aligned to 16 bytes
  DType dtype;
  int rank;
  int64_t sizes[5];    // elements
  int64_t strides[5];  // elements, multiples of 16 bytes; the first one is 1
  int box[5];          // elements, at most 256 each; box[0] is 128 bytes
};

#if defined(CD_EMULATE)
namespace emulated {
struct TensorMapFields {
  char* base;
  int rank, elementBytes;
  int64_t sizes[5], strides[5];  // strides in bytes
  int box[5];
};
}  // namespace emulated
struct alignas(64) TensorMap {
  emulated::TensorMapFields fields;
};
#else
// A CUtensorMap, which CUDA's headers would otherwise bring to every kernel.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};
#endif

// With a swizzle of 128 bytes; zeros outside of the tensor. Throws Error for what the engine does not take.
TensorMap tensorMap(const TensorBox& tensor);

}  // namespace cd::cuda
