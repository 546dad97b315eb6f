#include "cuda_rates.h"

#include <algorithm>
#include <string>

#include "cuda.h"

namespace cd::cuda {

void matmul(const Call&);

namespace {
#if defined(CD_EMULATE)  // to see that it runs; the rates mean nothing
constexpr int kPasses = 1;
constexpr int64_t kBytes = 1 << 16, kSize = 128;
#else
constexpr int kPasses = 10;
constexpr int64_t kBytes = int64_t{1} << 30;  // many times what any cache holds
constexpr int64_t kSize = 8192;
#endif
constexpr unsigned kBlocks = kBytes >> 30 ? 2112 : 2;
constexpr int kThreads = 256;

__global__ void copyKernel(const uint4* source, uint4* target, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) target[i] = source[i];
}

// Sums what it reads, so that the loads stay; only an unlikely sum is written.
__global__ void readKernel(const uint4* source, uint4* target, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  unsigned sum = 0;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    const uint4 value = source[i];
    sum += value.x ^ value.y ^ value.z ^ value.w;
  }
  if (sum == 0x9e3779b9u) target[0].x = sum;
}

// Small numbers of both signs: zeros would draw less power and run faster than real data.
__global__ void randomKernel(uint32_t* words, int64_t count, bool bf16) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + 12345u;
    x ^= x >> 15;
    x *= 2246822519u;
    x ^= x >> 13;
    // Exponents of [2^-4, 2^-3), any sign, any mantissa.
    words[i] = bf16 ? (x & 0x807f807fu) | 0x3d803d80u : (x & 0x807fffffu) | 0x3d800000u;
  }
}

void check(cudaError_t error) {
  if (error != cudaSuccess) throw Error(std::string("measuring rates failed: ") + cudaGetErrorString(error));
}

struct Memory {
  void* data = nullptr;
  explicit Memory(int64_t bytes) { check(cudaMalloc(&data, static_cast<size_t>(bytes))); }
  ~Memory() { cudaFree(data); }
};

class Scribble : public Scratch {
 public:
  ~Scribble() override { cudaFree(data_); }
  void* reserve(int64_t bytes) override {
    if (bytes > bytes_) {
      cudaFree(data_);
      check(cudaMalloc(&data_, static_cast<size_t>(bytes)));
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

// The shortest of several passes, in seconds.
template <class Pass>
double fastest(cudaStream_t stream, Pass&& pass) {
  cudaEvent_t start, end;
  check(cudaEventCreateWithFlags(&start, cudaEventDefault));
  check(cudaEventCreateWithFlags(&end, cudaEventDefault));
  float best = INFINITY;
  for (int i = 0; i < kPasses + 2; ++i) {
    check(cudaEventRecord(start, stream));
    pass();
    check(cudaEventRecord(end, stream));
    check(cudaEventSynchronize(end));
    float milliseconds;
    check(cudaEventElapsedTime(&milliseconds, start, end));
    if (i >= 2) best = std::min(best, milliseconds);
  }
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  return best * 1e-3;
}

double matrixRate(bool bf16, const Call& outer) {
  const int64_t size = bf16 ? kSize : kSize / 2;
  const DType dtype = bf16 ? DType::BF16 : DType::F32;
  const int64_t bytes = size * size * dtypeSize(dtype);
  const Memory a(bytes), b(bytes), c(bytes);
  for (void* data : {a.data, b.data})
    launch(outer, kBlocks, kThreads, 0, randomKernel, static_cast<uint32_t*>(data), bytes / 4, bf16);
  Tensor tensors[3];
  for (Tensor& tensor : tensors) tensor = {nullptr, dtype, true, 2, {size, size}, size};
  tensors[0].data = a.data;
  tensors[1].data = b.data;
  tensors[2].data = c.data;
  const double attributes[] = {0, 1, 0, 1};
  Scribble scratch;
  Call call = outer;
  call.tensors = tensors;
  call.attributes = attributes;
  call.scratchMemory = &scratch;
  const double seconds = fastest(static_cast<cudaStream_t>(call.stream), [&] { matmul(call); });
  return 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size) / seconds;
}

double bandwidth(bool copy, const Call& call) {
  const Memory source(kBytes), target(copy ? kBytes : 16);
  launch(call, kBlocks, kThreads, 0, randomKernel, static_cast<uint32_t*>(source.data), kBytes / 4, false);
  const double seconds = fastest(static_cast<cudaStream_t>(call.stream), [&] {
    launch(call, kBlocks, kThreads, 0, copy ? copyKernel : readKernel, static_cast<const uint4*>(source.data),
           static_cast<uint4*>(target.data), kBytes / 16);
  });
  return (copy ? 2.0 : 1.0) * static_cast<double>(kBytes) / seconds;
}
}  // namespace

double measureRate(int rate, void* stream) {
  const Op op{"measure_rate", {}, {}, nullptr};
  Call call{&op};
  call.stream = stream;
  return rate < 2 ? matrixRate(rate == 1, call) : bandwidth(rate == 2, call);
}

cudaError_t probeKernelImage() {
#if defined(CD_EMULATE)
  return emulation::Gpu::instance().capability ? cudaErrorNoKernelImageForDevice : cudaSuccess;
#else
  cudaFuncAttributes attributes;
  return cudaFuncGetAttributes(&attributes, copyKernel);
#endif
}

}  // namespace cd::cuda
