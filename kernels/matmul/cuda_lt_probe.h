// Whether two algorithms of cuBLASLt give a row the same bits: shown on rows of random numbers, since the library promises
// nothing.
#pragma once

#include <cstring>
#include <functional>
#include <vector>

#include "../common/cuda_runtime_host.h"
#include "cuda_lt_product.h"

namespace cd::cuda::lt {

class Probe {
 public:
  static constexpr int64_t kRows = 16, kMostRows = 256, kMostColumns = 256;

  // Of products with the given one's K, dtypes and layout of b. Takes device memory; the stream is waited for.
  Probe(const Product& like, cudaStream_t stream) : product_(like), stream_(stream) {
    product_.N = std::min(like.N, kMostColumns);
    product_.aStride = like.K;
    product_.bStride = like.transposeB ? like.K : product_.N;
    product_.cStride = product_.N;
    const int64_t aBytes = kMostRows * like.K * sizeOf(like.input), bBytes = product_.N * like.K * sizeOf(like.input);
    cBytes_ = kMostRows * product_.N * sizeOf(like.output);
    check(cudaMalloc(&memory_, static_cast<size_t>(rounded(aBytes) + rounded(bBytes) + cBytes_)));
    char* const a = static_cast<char*>(memory_);
    product_.a = a;
    product_.b = a + rounded(aBytes);
    product_.c = a + rounded(aBytes) + rounded(bBytes);
    // kRows rows again and again.
    const std::vector<char> rows = random(kRows * like.K, like.input, 1), b = random(product_.N * like.K, like.input, 2);
    for (int64_t at = 0; at < aBytes; at += static_cast<int64_t>(rows.size())) upload(a + at, rows);
    upload(a + rounded(aBytes), b);
  }
  Probe(const Probe&) = delete;
  ~Probe() { cudaFree(memory_); }

  // What multiply(product), with up to M rows, makes of the rows; empty where it does not run or where equal rows come out
  // unequal.
  std::vector<char> rows(int64_t M, const std::function<bool(const Product&)>& multiply) {
    product_.M = std::min(M, kMostRows);
    check(cudaMemsetAsync(product_.c, 0xff, static_cast<size_t>(cBytes_), stream_));
    if (!multiply(product_)) return {};
    std::vector<char> bits(static_cast<size_t>(product_.M * product_.N * sizeOf(product_.output)));
    check(cudaMemcpyAsync(bits.data(), product_.c, bits.size(), cudaMemcpyDeviceToHost, stream_));
    check(cudaStreamSynchronize(stream_));
    const size_t size = static_cast<size_t>(kRows * product_.N * sizeOf(product_.output));
    for (size_t at = size; at < bits.size(); at += size)
      if (std::memcmp(bits.data(), bits.data() + at, size) != 0) return {};
    bits.resize(size);
    return bits;
  }

 private:
  static int64_t rounded(int64_t bytes) { return (bytes + 255) / 256 * 256; }
  static void check(cudaError_t error) {
    if (error != cudaSuccess) throw Error(std::string("cuBLASLt: comparing algorithms failed: ") + cudaGetErrorString(error));
  }
  void upload(char* target, const std::vector<char>& data) {
    check(cudaMemcpyAsync(target, data.data(), data.size(), cudaMemcpyHostToDevice, stream_));
    check(cudaStreamSynchronize(stream_));
  }

  // In (−1, 1), with every bit of the mantissa in use: other orders of summing round otherwise.
  static std::vector<char> random(int64_t count, DataType type, uint32_t seed) {
    std::vector<char> data(static_cast<size_t>(count * sizeOf(type)));
    uint32_t state = seed * 2654435761u;
    for (int64_t i = 0; i < count; ++i) {
      state = state * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f;
      const BFloat16 rounded = toBFloat16(value);
      const void* const from = type == kF32 ? static_cast<const void*>(&value) : &rounded;
      std::memcpy(data.data() + i * sizeOf(type), from, static_cast<size_t>(sizeOf(type)));
    }
    return data;
  }

  Product product_;
  cudaStream_t stream_;
  void* memory_ = nullptr;
  int64_t cBytes_ = 0;
};

}  // namespace cd::cuda::lt
