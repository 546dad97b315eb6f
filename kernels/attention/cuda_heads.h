// Which kernel takes a call: head sizes as template arguments.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "../common/cuda.h"

namespace cd::cuda::attend {

// Whether the kernels on tensor cores take these tensors [.., D].
inline bool takesTiles(const Call& call, std::initializer_list<int> tensors) {
  const int64_t D = call[0].shape[2];
  bool takes = call[0].dtype == DType::BF16 && (D == 64 || D == 128 || D == 256);
  for (int index : tensors) takes = takes && packable(call[index]);
  return takes;
}

// body(D as a constant), for the head sizes that takesTiles names.
template <class Body>
void withHeadSize(int64_t D, Body&& body) {
  if (D == 64) body(std::integral_constant<int, 64>());
  else if (D == 128) body(std::integral_constant<int, 128>());
  else body(std::integral_constant<int, 256>());
}

// body(columns of a lane as a constant), for the kernels that go row by row.
template <class Body>
void withColumns(const Call& call, int64_t D, Body&& body) {
  if (D <= 32) body(std::integral_constant<int, 1>());
  else if (D <= 64) body(std::integral_constant<int, 2>());
  else if (D <= 128) body(std::integral_constant<int, 4>());
  else if (D <= 256) body(std::integral_constant<int, 8>());
  else call.fail(0, "have a head size of at most 256 on CUDA", std::to_string(D));
}

}  // namespace cd::cuda::attend
