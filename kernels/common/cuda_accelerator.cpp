// The accelerator that is a GPU: its memory, one stream on it, and copies through pinned memory of the host.
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

#include "cuda_backend.h"
#include "cuda_pinned.h"
#include "cuda_rates.h"
#include "cuda_runtime_host.h"

namespace cd::cuda {
namespace {

std::string versionText(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

[[noreturn]] void unavailable(int index, const std::string& why) {
  throw Error("Device 'cuda:" + std::to_string(index) + "' is not available: " + why + ", or use --device cpu");
}

void expectDevice(int index) {
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (error == cudaErrorInsufficientDriver)
    unavailable(index, driver == 0 ? std::string("no NVIDIA driver answers; install one and see whether nvidia-smi runs")
                                   : "the NVIDIA driver supports CUDA " + versionText(driver) + " and " + versionText(runtime) +
                                         " is needed; update the driver");
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
    unavailable(index, "the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES");
  if (error != cudaSuccess)
    unavailable(index, std::string("CUDA does not start: ") + cudaGetErrorString(error) + "; check nvidia-smi and dmesg");
  if (index >= count)
    unavailable(index, "there " +
                           (count == 1 ? std::string("is 1 GPU, cuda:0")
                                       : "are " + std::to_string(count) + " GPUs, cuda:0 to cuda:" + std::to_string(count - 1)) +
                           "; choose one of them");
}

int attribute(cudaDeviceAttr name, int index) {
  int value = 0;
  cudaDeviceGetAttribute(&value, name, index);
  return value;
}

// Errors after which nothing on the device works any more.
bool isFinal(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

class CudaAccelerator : public Accelerator {
 public:
  explicit CudaAccelerator(int index) : index_(index) {
    expectDevice(index);
    use();
    const int capability =
        attribute(cudaDevAttrComputeCapabilityMajor, index) * 10 + attribute(cudaDevAttrComputeCapabilityMinor, index);
    if (const cudaError_t error = probeKernelImage();
        error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction)
      unavailable(index, "the GPU has compute capability " + std::to_string(capability / 10) + "." +
                             std::to_string(capability % 10) +
                             " and the plug-in was built for " CD_CUDA_ARCHITECTURES
                             "; rebuild with COMPRESS_DISTILL_CUDA_ARCHITECTURES=" +
                             std::to_string(capability) + "-real npm run build");
    else check(error, "loading the kernels");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");

    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "asking for the GPU's properties");
    int driver = 0;
    cudaDriverGetVersion(&driver);
    description_ = properties.name;
#if !defined(CD_EMULATE)
    description_ += ", sm_" + std::to_string(capability) + ", " + std::to_string(properties.multiProcessorCount) +
                    " multiprocessors, driver for CUDA " + versionText(driver);
#endif
  }

  ~CudaAccelerator() override {
    use();
    cudaStreamSynchronize(stream_);
    for (const Fence& fence : fences_) cudaEventDestroy(fence.event);
    for (cudaEvent_t event : spareEvents_) cudaEventDestroy(event);
    for (const auto* spare : {&spareMarks_, &sparePoints_})
      for (cudaEvent_t event : *spare) cudaEventDestroy(event);
    uploads_.close();
    readBacks_.close();
    if (collectiveStream_) {
      cudaStreamSynchronize(collectiveStream_);
      cudaStreamDestroy(collectiveStream_);
    }
    cudaStreamDestroy(stream_);
  }

  std::string description() const override { return description_; }
  DeviceMemory memory() const override {
    use();
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
  }

  int index() const override { return index_; }
  bool reaches(int accelerator) const override {
    int can = 0;
    return cudaDeviceCanAccessPeer(&can, index_, accelerator) == cudaSuccess && can != 0;
  }

  void attach() override { use(); }
  void* stream() const override { return stream_; }

  void* allocate(int64_t bytes) override {
    use();
    void* memory = nullptr;
    const cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // it is told by the null, and must not show up at the next launch
      return nullptr;
    }
    check(error, "allocating memory");
    return memory;
  }
  void free(void* memory) override {
    use();
    cudaFree(memory);  // waits for what uses it; fails only where the device is lost
  }

  void copyIn(void* target, const void* source, int64_t bytes) override {
    const auto* from = static_cast<const char*>(source);
    auto* to = static_cast<char*>(target);
    while (bytes > 0) {
      int64_t taken = 0;
      const void* staged = nullptr;
      check(uploads_.stage(stream_, from, bytes, &staged, &taken), "copying to the GPU");
      check(cudaMemcpyAsync(to, staged, taken, cudaMemcpyHostToDevice, stream_), "copying to the GPU");
      from += taken;
      to += taken;
      bytes -= taken;
    }
  }

  void copyOut(void* target, const void* source, int64_t bytes) override {
    const auto* from = static_cast<const char*>(source);
    auto* to = static_cast<char*>(target);
    // What is larger than a staging block is waited for, block by block; the last block comes with the fence.
    for (; bytes > ReadBackPool::kLargest; bytes -= ReadBackPool::kLargest) {
      copyOut(to, from, ReadBackPool::kLargest);
      synchronise();
      from += ReadBackPool::kLargest;
      to += ReadBackPool::kLargest;
    }
    if (bytes == 0) return;
    ReadBackPool::Block block;
    check(readBacks_.take(bytes, &block), "allocating pinned memory");
    arriving_.push_back({newestFence_ + 1, to, bytes, block});
    check(cudaMemcpyAsync(block.address, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
  }

  void fill(void* target, uint8_t value, int64_t bytes) override {
    check(cudaMemsetAsync(target, value, bytes, stream_), "filling memory");
  }

  uint64_t fence() override {
    cudaEvent_t event = nullptr;
    if (spareEvents_.empty()) check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
    else {
      event = spareEvents_.back();
      spareEvents_.pop_back();
    }
    fences_.push_back({++newestFence_, event});
    check(cudaEventRecord(event, stream_), "recording an event");
    return newestFence_;
  }

  bool passed(uint64_t number) override {
    while (!fences_.empty() && fences_.front().number <= number) {
      const cudaError_t error = cudaEventQuery(fences_.front().event);
      if (error == cudaErrorNotReady) return false;
      check(error, "running the operations launched before");
      deliver(fences_.front().number);
      spareEvents_.push_back(fences_.front().event);
      fences_.pop_front();
    }
    return true;
  }

  void synchronise() override {
    check(cudaStreamSynchronize(stream_), "running the operations launched before");
    for (const Fence& fence : fences_) spareEvents_.push_back(fence.event);
    fences_.clear();
    deliver(newestFence_ + 1);
  }

  void beginCapture() override {
    // Other threads may take memory meanwhile.
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a graph");
  }
  void* endCapture() override {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph), "recording a graph");
    cudaGraphExec_t instance = nullptr;
    const cudaError_t error = cudaGraphInstantiate(&instance, graph, 0);
    cudaGraphDestroy(graph);
    check(error, "making a graph ready");
    return instance;
  }
  void abandonCapture() override {
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    cudaGetLastError();  // that the capture was given up must not show up at the next launch
  }
  void launchGraph(void* graph) override {
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_), "launching a graph");
  }
  void freeGraph(void* graph) override {
    use();
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph));
  }

  void* collectiveStream() override {
    std::lock_guard lock(pointsMutex_);
    if (!collectiveStream_) {
      // Before the operations: what waits for other GPUs should begin as early as it can.
      int least = 0, greatest = 0;
      check(cudaDeviceGetStreamPriorityRange(&least, &greatest), "asking for priorities");
      check(cudaStreamCreateWithPriority(&collectiveStream_, cudaStreamNonBlocking, greatest), "creating a stream");
    }
    return collectiveStream_;
  }
  void* point(void* stream) override {
    cudaEvent_t event = nullptr;
    {
      std::lock_guard lock(pointsMutex_);
      if (!sparePoints_.empty()) {
        event = sparePoints_.back();
        sparePoints_.pop_back();
      }
    }
    if (!event) check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "creating an event");
    check(cudaEventRecord(event, static_cast<cudaStream_t>(stream)), "recording an event");
    return event;
  }
  void follow(void* stream, void* point) override {
    check(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), static_cast<cudaEvent_t>(point), 0), "waiting for an event");
  }
  bool reached(void* point) override {
    const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(point));
    if (error == cudaErrorNotReady) return false;
    check(error, "running the collectives launched before");
    return true;
  }
  void drop(void* point) override {
    std::lock_guard lock(pointsMutex_);
    sparePoints_.push_back(static_cast<cudaEvent_t>(point));
  }

  void* mark() override {
    cudaEvent_t event = nullptr;
    if (spareMarks_.empty()) check(cudaEventCreateWithFlags(&event, cudaEventDefault), "creating an event");
    else {
      event = spareMarks_.back();
      spareMarks_.pop_back();
    }
    check(cudaEventRecord(event, stream_), "recording an event");
    return event;
  }
  double secondsBetween(void* start, void* end) override {
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(start), static_cast<cudaEvent_t>(end));
    spareMarks_.push_back(static_cast<cudaEvent_t>(start));
    spareMarks_.push_back(static_cast<cudaEvent_t>(end));
    return milliseconds * 1e-3;
  }

  std::string lost() const override {
    cudaError_t error = static_cast<cudaError_t>(lost_.load());
    if (error == cudaSuccess) {
      error = cudaStreamQuery(stream_);
      if (!isFinal(error)) return "";
      lost_ = error;
    }
    return "Device 'cuda:" + std::to_string(index_) + "' is lost: " + cudaGetErrorString(error) +
           "; start again to resume; COMPRESS_DISTILL_DEBUG=1 tells which operation it was";
  }

  double measureRate(int rate) override { return cuda::measureRate(rate, stream_); }

 private:
  struct Fence {
    uint64_t number;
    cudaEvent_t event;
  };
  struct Arriving {
    uint64_t fence;
    void* target;
    int64_t bytes;
    ReadBackPool::Block block;
  };

  void use() const { cudaSetDevice(index_); }

  void check(cudaError_t error, const char* doing) const {
    if (error == cudaSuccess) return;
    if (isFinal(error)) {
      lost_ = error;
      throw Error(lost());
    }
    throw Error("Device 'cuda:" + std::to_string(index_) + "': " + doing + " failed: " + cudaGetErrorString(error));
  }

  void deliver(uint64_t fence) {
    for (; !arriving_.empty() && arriving_.front().fence <= fence; arriving_.pop_front()) {
      const Arriving& arriving = arriving_.front();
      __builtin_memcpy(arriving.target, arriving.block.address, arriving.bytes);
      readBacks_.give(arriving.block);
    }
  }

  int index_;
  std::string description_;
  cudaStream_t stream_ = nullptr;
  UploadRing uploads_;
  ReadBackPool readBacks_;
  std::deque<Fence> fences_;
  std::deque<Arriving> arriving_;
  std::vector<cudaEvent_t> spareEvents_, spareMarks_;
  uint64_t newestFence_ = 0;
  std::mutex pointsMutex_;
  cudaStream_t collectiveStream_ = nullptr;
  std::vector<cudaEvent_t> sparePoints_;
  mutable std::atomic<int> lost_{cudaSuccess};
};
}  // namespace

#if defined(CD_EMULATE)
const char kBackendName[] = "cuda-emulated";
#else
const char kBackendName[] = "cuda";
#endif

#if defined(CD_EMULATE)
std::vector<FoundLibrary> findLibraries() { return {}; }
#endif

Accelerator* openAccelerator(int index) { return new CudaAccelerator(index); }

}  // namespace cd::cuda
