#include "cuda_tensor_map.h"

#include <string>

#if !defined(CD_EMULATE)
#include <cuda.h>
#include <cuda_runtime.h>

#include <cstring>
#endif

namespace cd::cuda {

namespace {

void check(const TensorBox& tensor) {
  const int64_t bytes = dtypeSize(tensor.dtype);
  const auto expect = [](bool holds, const char* what) {
    if (!holds) throw Error(std::string("a tensor map: Expected ") + what);
  };
  expect(tensor.rank >= 2 && tensor.rank <= 5, "2 to 5 dimensions");
  expect(reinterpret_cast<uintptr_t>(tensor.base) % 16 == 0, "an address that is a multiple of 16");
  expect(tensor.strides[0] == 1 && tensor.box[0] * bytes == 128, "rows of 128 bytes of neighbours");
  for (int d = 0; d < tensor.rank; ++d) {
    expect(tensor.box[d] >= 1 && tensor.box[d] <= 256, "a box of 1 to 256 elements in each dimension");
    expect(tensor.sizes[d] >= 1 && tensor.sizes[d] <= int64_t{1} << 32, "1 to 2³² elements in each dimension");
    expect(d == 0 || (tensor.strides[d] * bytes % 16 == 0 && tensor.strides[d] * bytes < int64_t{1} << 40),
           "strides that are multiples of 16 bytes");
  }
}

}  // namespace

#if defined(CD_EMULATE)

TensorMap tensorMap(const TensorBox& tensor) {
  check(tensor);
  TensorMap map{};
  const int bytes = static_cast<int>(dtypeSize(tensor.dtype));
  map.fields.base = static_cast<char*>(const_cast<void*>(tensor.base));
  map.fields.rank = tensor.rank;
  map.fields.elementBytes = bytes;
  for (int d = 0; d < tensor.rank; ++d) {
    map.fields.sizes[d] = tensor.sizes[d];
    map.fields.strides[d] = tensor.strides[d] * bytes;
    map.fields.box[d] = tensor.box[d];
  }
  return map;
}

#else

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

// From the driver that is loaded already: no library to link with.
Encode encoder() {
  static const Encode encode = [] {
    void* address = nullptr;
    cudaDriverEntryPointQueryResult result;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address, 12000, cudaEnableDefault, &result);
    if (error != cudaSuccess || result != cudaDriverEntryPointSuccess)
      throw Error("the driver has no cuTensorMapEncodeTiled: update it to one of CUDA 12 or later");
    return reinterpret_cast<Encode>(address);
  }();
  return encode;
}

}  // namespace

TensorMap tensorMap(const TensorBox& tensor) {
  check(tensor);
  cuuint64_t sizes[5], strides[5];
  cuuint32_t box[5], steps[5];
  for (int d = 0; d < tensor.rank; ++d) {
    sizes[d] = static_cast<cuuint64_t>(tensor.sizes[d]);
    if (d > 0) strides[d - 1] = static_cast<cuuint64_t>(tensor.strides[d] * dtypeSize(tensor.dtype));
    box[d] = static_cast<cuuint32_t>(tensor.box[d]);
    steps[d] = 1;
  }
  CUtensorMap encoded;
  const CUtensorMapDataType type = tensor.dtype == DType::BF16  ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                   : tensor.dtype == DType::F32 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                                                : CU_TENSOR_MAP_DATA_TYPE_UINT8;
  const CUresult result = encoder()(&encoded, type, static_cast<cuuint32_t>(tensor.rank), const_cast<void*>(tensor.base), sizes,
                                    strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error("the driver refused a tensor map (error " + std::to_string(static_cast<int>(result)) + ")");
  TensorMap map;
  static_assert(sizeof map == sizeof encoded);
  std::memcpy(&map, &encoded, sizeof map);
  return map;
}

#endif

}  // namespace cd::cuda
