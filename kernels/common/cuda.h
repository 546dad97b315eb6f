// What a kernels/<folder>/cuda.cu includes: CUDA C++ under nvcc, or its emulation under a host compiler (-DCD_EMULATE), and the
// few idioms that all kernels share. How to write a kernel and how to check it: kernels/README.md.
#pragma once

#include "../../native/kernel.h"
#include "philox.h"

#if defined(CD_EMULATE)
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>
#endif

namespace cd::cuda {

// Where launch() was called, for messages.
struct LaunchSite {
  const Call& call;
  const char* file;
  int line;
  LaunchSite(const Call& call, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : call(call), file(file), line(line) {}
};

// Runs kernel(arguments…) on the call's stream, with sharedBytes of dynamic shared memory. A grid without blocks is no launch.
template <class... Parameters, class... Arguments>
inline void launch(LaunchSite site, dim3 grid, dim3 block, int sharedBytes, void (*kernel)(Parameters...),
                   Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(CD_EMULATE)
  emulation::launch({site.call.op->name, {site.file, site.line}, grid, block, sharedBytes}, kernel,
                    std::tuple<std::remove_cvref_t<Parameters>...>(static_cast<Parameters>(arguments)...));
#else
  const auto check = [&](cudaError_t error) {
    if (error != cudaSuccess)
      throw Error(std::string("launching its kernel failed: ") + cudaGetErrorString(error) + " (" + site.file + ":" +
                  std::to_string(site.line) + ")");
  };
  // More than 48 KiB has to be asked for.
  if (sharedBytes > 48 * 1024)
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, sharedBytes));
  kernel<<<grid, block, sharedBytes, static_cast<cudaStream_t>(site.call.stream)>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError());
#endif
}

// A kernel's parameter that is large and that all threads read where it lies: `GRID_CONSTANT(Table) table`, up to 32,764 bytes of
// parameters in all.
#if defined(CD_EMULATE)
#define GRID_CONSTANT(type) const type&
#else
#define GRID_CONSTANT(type) const __grid_constant__ type
#endif

// --- shared memory ------------------------------------------------------------------------------------------------------
// A variable in shared memory, SHARED(float[32], partial); one for all uses of the line. Undefined (NaN in emulation) at first.
#if defined(CD_EMULATE)
#define SHARED(type, name) \
  std::type_identity_t<type>& name = ::cd::emulation::sharedVariable<std::type_identity_t<type>>(__LINE__)
#else
#define SHARED(type, name) __shared__ std::type_identity_t<type> name
#endif

// The dynamic shared memory, as a T: `auto& tiles = dynamicShared<Tiles>()`, launched with at least sizeof(Tiles) bytes.
#if defined(CD_EMULATE)
template <class T>
inline T& dynamicShared(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return *static_cast<T*>(emulation::current->dynamicShared(sizeof(T), {file, line}));
}
#else
template <class T>
__device__ __forceinline__ T& dynamicShared() {
  extern __shared__ __align__(1024) unsigned char cdDynamicShared[];
  return *reinterpret_cast<T*>(cdDynamicShared);
}
#endif

// --- threads --------------------------------------------------------------------------------------------------------------
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ int laneIndex() { return static_cast<int>(threadIdx.x % 32); }
__device__ __forceinline__ int warpIndex() { return static_cast<int>(threadIdx.x / 32); }

constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks that give every thread `perThread` of `count` items, but no more than fill any GPU a few times: kernels stride by the
// grid.
inline unsigned blocksFor(int64_t count, int threads, int perThread = 1) {
  const int64_t blocks = ceilDiv(count, int64_t{threads} * perThread);
  return static_cast<unsigned>(blocks < 2048 ? blocks : 2048);
}

// --- bad data -----------------------------------------------------------------------------------------------------------
// Where a kernel reports what it found wrong in its data; Op::explain says it in words. The kernel then goes on, without touching
// what the bad value points to.
struct FailureReport {
  Failure* failure;
  int32_t* count;
  explicit FailureReport(const Call& call) : failure(call.failure), count(call.failureCount) {}

  __device__ void operator()(int code, int64_t value0, int64_t value1 = 0, int64_t value2 = 0, int64_t value3 = 0) const {
    if (atomicExch(&failure->claimed, 1) != 0) return;
    failure->code = code;
    failure->values[0] = value0;
    failure->values[1] = value1;
    failure->values[2] = value2;
    failure->values[3] = value3;
    atomicAdd(count, 1);
  }
};

// --- 16-byte accesses ---------------------------------------------------------------------------------------------------
// As many elements as one load instruction takes at most.
template <class T>
struct alignas(16) Pack {
  static constexpr int kCount = 16 / sizeof(T);
  T value[kCount];
};
template <class T>
__device__ __forceinline__ Pack<T> loadPack(const T* address) {
  return *reinterpret_cast<const Pack<T>*>(address);
}
template <class T>
__device__ __forceinline__ void storePack(T* address, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(address) = pack;
}
// Whether rows of this tensor can be read in packs: on the host, before the launch.
inline bool packable(const Tensor& tensor) {
  const int64_t stride = tensor.rows() > 1 ? tensor.rowStride * dtypeSize(tensor.dtype) : 0;
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && stride % 16 == 0;
}

// --- reductions in one fixed order; every lane gets the result -----------------------------------------------------------
template <class T, class Combine>
__device__ __forceinline__ T warpReduce(T value, Combine combine) {
#pragma unroll
  for (int bits = 16; bits > 0; bits /= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, bits));
  return value;
}
template <class T>
__device__ __forceinline__ T warpSum(T value) {
  return warpReduce(value, [](T a, T b) { return a + b; });
}
__device__ __forceinline__ float warpMax(float value) {
  return warpReduce(value, [](float a, float b) { return fmaxf(a, b); });
}

// Over a block of whole warps; its order is fixed by the size of the block. `neutral` leaves a value as it is. All threads must
// call.
template <class T, class Combine>
__device__ __forceinline__ T blockReduce(T value, T neutral, Combine combine) {
  SHARED(T[32], partial);
  value = warpReduce(value, combine);
  if (laneIndex() == 0) partial[warpIndex()] = value;
  __syncthreads();
  value = laneIndex() < static_cast<int>(blockDim.x / 32) ? partial[laneIndex()] : neutral;
  value = warpReduce(value, combine);
  __syncthreads();  // partial may be written again
  return value;
}
template <class T>
__device__ __forceinline__ T blockSum(T value) {
  return blockReduce(value, T{0}, [](T a, T b) { return a + b; });
}
__device__ __forceinline__ float blockMax(float value) {
  return blockReduce(value, -INFINITY, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace cd::cuda
