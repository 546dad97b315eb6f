// The part of CUDA's runtime interface that the accelerator uses, on the host: so that in emulation the very code runs that
// drives a GPU. It is as late as a GPU where that can be seen: an event has passed only when it is asked for a second time.
// What a machine can have wrong is asked for in the environment, when a device is opened: COMPRESS_DISTILL_EMULATION_GPUS, how
// many there are (default 1); _DRIVER, the CUDA version that the driver supports (12040: too old); _CAPABILITY, of a GPU that the
// kernels were not built for (80); _MEMORY, the bytes it has; _LOST_AT, the number of the
// kernel, counted from there, behind which an illegal access shows; _GRAPH_FAULT, what of the first graph fails: a fill while it
// is captured (capture) or making it ready (instantiate).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include "cuda_fibers.h"

enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInsufficientDriver = 35,
  cudaErrorInvalidDeviceFunction = 98,
  cudaErrorNoDevice = 100,
  cudaErrorNoKernelImageForDevice = 209,
  cudaErrorECCUncorrectable = 214,
  cudaErrorNvlinkUncorrectable = 220,
  cudaErrorNotReady = 600,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorUnknown = 999,
};
enum cudaDeviceAttr { cudaDevAttrComputeCapabilityMajor, cudaDevAttrComputeCapabilityMinor };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventDisableTiming = 2;
struct cudaDeviceProp {
  char name[256];
  int multiProcessorCount;
};

namespace cd::emulation {

extern std::atomic<int64_t> launches;  // kernels that have run in this process

constexpr size_t kMemory = size_t{1} << 30;  // as much as a test may take
constexpr int kRuntime = 13000;              // CUDA's version

struct Gpu {
  std::mutex mutex;
  std::map<void*, size_t> blocks;
  size_t used = 0, total = kMemory;
  int64_t lostAt = INT64_MAX;  // of `launches`
  std::string graphFault;
  int count = 1, driver = kRuntime, capability = 0;  // 0: the one that the kernels were built for
  bool peers = true;                                 // the GPUs reach each other's memory

  static Gpu& instance() {
    static Gpu gpu;
    return gpu;
  }
  void readEnvironment() {
    const auto number = [](const char* name, int64_t otherwise) {
      const char* text = std::getenv((std::string("COMPRESS_DISTILL_EMULATION_") + name).c_str());
      return text && *text ? std::strtoll(text, nullptr, 10) : otherwise;
    };
    count = static_cast<int>(number("GPUS", 1));
    driver = static_cast<int>(number("DRIVER", kRuntime));
    capability = static_cast<int>(number("CAPABILITY", 0));
    peers = number("PEERS", 1) != 0;
    total = static_cast<size_t>(number("MEMORY", kMemory));
    const char* const fault = std::getenv("COMPRESS_DISTILL_EMULATION_GRAPH_FAULT");
    graphFault = fault ? fault : "";
    const int64_t kernel = number("LOST_AT", 0);
    lostAt = kernel > 0 ? launches + kernel : INT64_MAX;
  }
  // Once.
  bool fails(const char* what) {
    std::lock_guard lock(mutex);
    const bool now = graphFault == what;
    if (now) graphFault.clear();
    return now;
  }
  cudaError_t state() const { return launches >= lostAt ? cudaErrorIllegalAddress : cudaSuccess; }
};

struct Event {
  bool recorded = false, asked = false;
  std::chrono::steady_clock::time_point time;
};

}  // namespace cd::emulation

using cudaStream_t = cd::emulation::Gpu*;
using cudaEvent_t = cd::emulation::Event*;
using cudaGraph_t = cd::emulation::Graph*;
using cudaGraphExec_t = cd::emulation::Graph*;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };

inline cudaError_t cudaGetDeviceCount(int* count) {
  auto& gpu = cd::emulation::Gpu::instance();
  gpu.readEnvironment();
  *count = gpu.count;
  if (gpu.driver < cd::emulation::kRuntime) return cudaErrorInsufficientDriver;
  return gpu.count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
inline cudaError_t cudaDriverGetVersion(int* version) { return *version = cd::emulation::Gpu::instance().driver, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = cd::emulation::kRuntime, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
  const int capability = cd::emulation::Gpu::instance().capability;
  return *value = name == cudaDevAttrComputeCapabilityMajor ? capability / 10 : capability % 10, cudaSuccess;
}
inline cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  return *can = cd::emulation::Gpu::instance().peers, cudaSuccess;
}
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  std::strcpy(properties->name, "CUDA kernels emulated on the host");
  properties->multiProcessorCount = 1;
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorIllegalAddress ? "an illegal memory access was encountered" : "an error of the emulation";
}

inline cudaError_t cudaMalloc(void** address, size_t bytes) {
  if (cd::emulation::capturing) return cudaErrorStreamCaptureUnsupported;
  auto& gpu = cd::emulation::Gpu::instance();
  std::lock_guard lock(gpu.mutex);
  if (gpu.state() != cudaSuccess) return gpu.state();
  if (bytes > gpu.total - gpu.used) return cudaErrorMemoryAllocation;
  *address = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  if (!*address) return cudaErrorMemoryAllocation;
  gpu.blocks[*address] = bytes;
  gpu.used += bytes;
  return cudaSuccess;
}
inline cudaError_t cudaFree(void* address) {
  auto& gpu = cd::emulation::Gpu::instance();
  std::lock_guard lock(gpu.mutex);
  if (const auto block = gpu.blocks.find(address); block != gpu.blocks.end()) {
    gpu.used -= block->second;
    gpu.blocks.erase(block);
    std::free(address);
  }
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  auto& gpu = cd::emulation::Gpu::instance();
  std::lock_guard lock(gpu.mutex);
  *free = gpu.total - gpu.used;
  *total = gpu.total;
  return cudaSuccess;
}
inline cudaError_t cudaMallocHost(void** address, size_t bytes) {
  *address = std::malloc(bytes);
  return *address ? cudaSuccess : cudaErrorMemoryAllocation;
}
inline cudaError_t cudaFreeHost(void* address) { return std::free(address), cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  if (stream->state() == cudaSuccess) cd::emulation::onStream([=] { std::memcpy(target, source, bytes); });
  return stream->state();
}
inline cudaError_t cudaMemcpy2DAsync(void* target, size_t targetPitch, const void* source, size_t sourcePitch, size_t width,
                                     size_t height, cudaMemcpyKind, cudaStream_t stream) {
  if (stream->state() == cudaSuccess)
    cd::emulation::onStream([=] {
      for (size_t row = 0; row < height; ++row)
        std::memcpy(static_cast<char*>(target) + row * targetPitch, static_cast<const char*>(source) + row * sourcePitch, width);
    });
  return stream->state();
}
inline cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  if (cd::emulation::capturing && stream->fails("capture")) return cudaErrorStreamCaptureUnsupported;
  if (stream->state() == cudaSuccess) cd::emulation::onStream([=] { std::memset(target, value, bytes); });
  return stream->state();
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return *stream = &cd::emulation::Gpu::instance(), cudaSuccess;
}
inline cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) { return *least = *greatest = 0, cudaSuccess; }
inline cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return cd::emulation::capturing ? cudaErrorStreamCaptureUnsupported : stream->state();
}
inline cudaError_t cudaStreamQuery(cudaStream_t stream) { return stream->state(); }

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (cd::emulation::capturing) return cudaErrorStreamCaptureUnsupported;
  cd::emulation::capturing = new cd::emulation::Graph;
  return stream->state();
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = std::exchange(cd::emulation::capturing, nullptr);
  return stream->state();
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* instance, cudaGraph_t graph, unsigned long long) {
  if (cd::emulation::Gpu::instance().fails("instantiate")) return cudaErrorMemoryAllocation;
  return *instance = new cd::emulation::Graph(*graph), cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t instance, cudaStream_t stream) {
  if (stream->state() == cudaSuccess)
    for (const auto& work : *instance) work();
  return stream->state();
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t instance) { return delete instance, cudaSuccess; }

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  return *event = new cd::emulation::Event, cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) { return delete event, cudaSuccess; }
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  *event = {true, false, std::chrono::steady_clock::now()};
  return cudaSuccess;
}
// Work runs when it is launched, so what comes behind an event that was recorded has nothing to wait for.
inline cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t, unsigned) { return stream->state(); }
inline cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event->recorded && !event->asked) {
    event->asked = true;
    return cudaErrorNotReady;
  }
  return cd::emulation::Gpu::instance().state();
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t) { return cd::emulation::Gpu::instance().state(); }
inline cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}
