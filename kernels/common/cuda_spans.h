// Elementwise work on the GPU: tensors are cut into spans of 8 elements along their rows, a thread takes one span after another.
#pragma once

#include "cuda.h"

namespace cd::cuda {

constexpr int kSpan = 8;

inline bool allContiguous(const Call& call, std::initializer_list<int> indices) {
  for (int index : indices)
    if (call[index].present && !call[index].contiguous()) return false;
  return true;
}

// The elements of a span, as many as fit into one access at a time.
template <class T>
struct alignas(kSpan * sizeof(T) < 16 ? kSpan * sizeof(T) : 16) SpanPack {
  static constexpr int kCount = kSpan * sizeof(T) < 16 ? kSpan : 16 / sizeof(T);
  T value[kCount];
};

// A tensor's rows, as a kernel sees them. Loads give `fill` beyond `count`; a view that is not there (null) stores nothing.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;
  bool packed = false;  // spans are aligned

  Rows() = default;
  explicit Rows(const Tensor& tensor) {
    if (!tensor.present) return;
    constexpr uintptr_t kAlignment = alignof(SpanPack<T>);
    data = tensor.as<T>();
    stride = tensor.rows() > 1 ? tensor.rowStride : 0;
    packed = reinterpret_cast<uintptr_t>(data) % kAlignment == 0 && stride * sizeof(T) % kAlignment == 0;
  }

  __device__ __forceinline__ T* at(int64_t row, int64_t start) const { return data + row * stride + start; }

  __device__ __forceinline__ void loadRaw(T (&values)[kSpan], int64_t row, int64_t start, int count) const {
    const T* source = at(row, start);
    if (packed && count == kSpan) {
      constexpr int kCount = SpanPack<T>::kCount;
#pragma unroll
      for (int i = 0; i < kSpan; i += kCount) {
        const SpanPack<T> pack = *reinterpret_cast<const SpanPack<T>*>(source + i);
#pragma unroll
        for (int j = 0; j < kCount; ++j) values[i + j] = pack.value[j];
      }
    } else {
#pragma unroll
      for (int i = 0; i < kSpan; ++i) values[i] = i < count ? source[i] : T{};
    }
  }
  __device__ __forceinline__ void storeRaw(const T (&values)[kSpan], int64_t row, int64_t start, int count) const {
    if (!data) return;
    T* target = at(row, start);
    if (packed && count == kSpan) {
      constexpr int kCount = SpanPack<T>::kCount;
#pragma unroll
      for (int i = 0; i < kSpan; i += kCount) {
        SpanPack<T> pack;
#pragma unroll
        for (int j = 0; j < kCount; ++j) pack.value[j] = values[i + j];
        *reinterpret_cast<SpanPack<T>*>(target + i) = pack;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kSpan; ++i)
        if (i < count) target[i] = values[i];
    }
  }

  // As f32: zeros beyond `count`.
  __device__ __forceinline__ void load(float (&values)[kSpan], int64_t row, int64_t start, int count) const {
    T raw[kSpan];
    loadRaw(raw, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) values[i] = toFloat(raw[i]);
  }
  __device__ __forceinline__ void store(const float (&values)[kSpan], int64_t row, int64_t start, int count) const {
    T raw[kSpan];
#pragma unroll
    for (int i = 0; i < kSpan; ++i) raw[i] = fromFloat<T>(values[i]);
    storeRaw(raw, row, start, count);
  }
};

// body(row, start, count) for every span.
template <class Body>
__global__ void __launch_bounds__(256) spanKernel(int64_t rows, int64_t cols, Body body) {
  const int64_t first = (int64_t{blockIdx.x} * blockDim.x + threadIdx.x) * kSpan;
  for (int64_t row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y; row < rows; row += int64_t{gridDim.y} * blockDim.y)
    for (int64_t start = first; start < cols; start += int64_t{gridDim.x} * blockDim.x * kSpan)
      body(row, start, static_cast<int>(cols - start < kSpan ? cols - start : kSpan));
}

// Runs body(row, start, count), a struct with a __device__ operator(), for every span of rows × cols elements.
template <class Body>
inline void forSpans(LaunchSite site, int64_t rows, int64_t cols, const Body& body) {
  if (rows == 0 || cols == 0) return;
  const int64_t spans = ceilDiv(cols, kSpan);
  unsigned width = 1;  // threads along a row: as many as it has spans
  while (width < 256 && width < spans) width *= 2;
  const dim3 block(width, 256 / width);
  const int64_t across = ceilDiv(spans, width), down = ceilDiv(rows, block.y);
  const unsigned x = static_cast<unsigned>(across < 2048 ? across : 2048);
  const int64_t limit = 1 + 2048 / x;
  launch(site, dim3(x, static_cast<unsigned>(down < limit ? down : limit)), block, 0, spanKernel<Body>, rows, cols, body);
}

// The same for the shape of a tensor: as one row when every tensor is contiguous (flat).
template <class Body>
inline void forSpans(LaunchSite site, const Tensor& tensor, bool flat, const Body& body) {
  if (flat) forSpans(site, 1, tensor.elements(), body);
  else forSpans(site, tensor.rows(), tensor.cols(), body);
}

}  // namespace cd::cuda
