#include "host_memory.h"

#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace cd {

namespace {
constexpr int64_t kLargePage = 2 << 20;
constexpr int64_t kSegment = 32 << 20, kSharing = 8 << 20;  // what is larger has memory of its own
}  // namespace

void* allocateOnLargePages(int64_t bytes) {
  void* const memory = std::aligned_alloc(kLargePage, static_cast<size_t>((bytes + 255) / 256 * 256));
#ifdef MADV_HUGEPAGE
  // Many systems give large pages to who asks only. A system without them refuses, which changes nothing.
  if (memory) madvise(memory, static_cast<size_t>(bytes), MADV_HUGEPAGE);
#endif
  return memory;
}

void* HostMemory::take(int64_t bytes) {
  if (bytes > kSharing) return allocateOnLargePages(bytes);
  if (void* const piece = small_.take(bytes)) return piece;
  void* const segment = allocateOnLargePages(kSegment);
  if (!segment) return nullptr;
  small_.add(segment, kSegment);
  return small_.take(bytes);
}

void HostMemory::give(void* block, int64_t bytes) {
  if (bytes > kSharing) std::free(block);
  else small_.give(block, bytes);
}

void HostMemory::trim() {
  for (const auto& [segment, bytes] : small_.takeIdle()) std::free(segment);
}

}  // namespace cd
