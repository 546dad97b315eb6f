// An accelerator whose memory is the host's and whose kernels run when they are launched. It is as late as a GPU where that
// can be seen: what copyOut brings arrives with a fence, and a fence passes when it is asked for the second time.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "cuda_backend.h"

namespace cd::cuda {
namespace {

class EmulatedAccelerator : public Accelerator {
 public:
  std::string description() const override { return "CUDA kernels emulated on the host"; }
  DeviceMemory memory() const override { return {}; }

  void attach() override {}
  void* stream() const override { return nullptr; }
  void* allocate(int64_t bytes) override { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
  void free(void* memory) override { std::free(memory); }

  void copyIn(void* target, const void* source, int64_t bytes) override { std::memcpy(target, source, bytes); }
  void copyOut(void* target, const void* source, int64_t bytes) override {
    const auto* begin = static_cast<const char*>(source);
    arriving_.push_back({newest_ + 1, target, std::vector<char>(begin, begin + bytes)});
  }
  void fill(void* target, uint8_t value, int64_t bytes) override { std::memset(target, value, bytes); }

  uint64_t fence() override { return ++newest_; }
  bool passed(uint64_t fence) override {
    if (fence > asked_) {
      asked_ = fence;
      return false;
    }
    deliver(fence);
    return true;
  }
  void synchronise() override { deliver(newest_ + 1); }

  std::string lost() const override { return ""; }
  double measureRate(int) override { return 0; }

 private:
  struct Arriving {
    uint64_t fence;
    void* target;
    std::vector<char> data;
  };
  void deliver(uint64_t fence) {
    size_t count = 0;
    for (; count < arriving_.size() && arriving_[count].fence <= fence; ++count)
      std::memcpy(arriving_[count].target, arriving_[count].data.data(), arriving_[count].data.size());
    arriving_.erase(arriving_.begin(), arriving_.begin() + static_cast<std::ptrdiff_t>(count));
  }

  uint64_t newest_ = 0, asked_ = 0;
  std::vector<Arriving> arriving_;
};
}  // namespace

const char kBackendName[] = "cuda-emulated";

Accelerator* openAccelerator(int) { return new EmulatedAccelerator; }

}  // namespace cd::cuda
