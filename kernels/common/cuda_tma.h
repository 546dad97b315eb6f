// Copies of whole tiles between global and shared memory by the copy engine (TMA, from sm_90 on): one thread issues a copy, which
// a tensor map describes. Loads end in a PhaseBarrier, stores in groups that their thread waits for.
//
// A tile's rows are 128 bytes in shared memory, swizzled: the 16 bytes at column c of row r (counted from an address that is a
// multiple of 1024) lie at column c ^ (r % 8). So neither tensor cores nor threads that go down a column meet in one bank.
#pragma once

#include "cuda_barrier.h"
#include "cuda_tensor_map.h"

#if defined(CD_EMULATE)
#include <algorithm>
#include <array>
#endif

namespace cd::cuda {

constexpr int kSwizzleRow = 128;  // bytes
constexpr int kSwizzleAlignment = 1024;

// The byte at which byte `column` of row `row` of a swizzled tile lies.
__host__ __device__ constexpr int swizzled(int row, int column) { return row * kSwizzleRow + (column ^ ((row % 8) << 4)); }

#if defined(CD_EMULATE)
namespace emulated {

// visit(byte in the tile, address in the tensor, how many of the 16 bytes from there on lie inside of it) for every 16 bytes of
// the box at `at`.
template <class Visit>
void visitBox(const TensorMapFields& map, const int* at, Visit&& visit) {
  const int columns = map.box[0], packs = columns * map.elementBytes / 16;
  int64_t rows = 1;
  for (int d = 1; d < map.rank; ++d) rows *= map.box[d];
  for (int64_t row = 0; row < rows; ++row) {
    int64_t rest = row, offset = 0;
    bool inside = true;
    for (int d = 1; d < map.rank; ++d) {
      const int64_t place = at[d] + rest % map.box[d];
      rest /= map.box[d];
      inside = inside && place >= 0 && place < map.sizes[d];
      offset += place * map.strides[d];
    }
    for (int pack = 0; pack < packs; ++pack) {
      const int64_t column = at[0] + int64_t{pack} * 16 / map.elementBytes, rest = (map.sizes[0] - column) * map.elementBytes;
      if (column < 0) emulation::current->fail("a box that begins before the first column is not emulated");
      visit(swizzled(static_cast<int>(row), pack * 16), map.base + offset + column * map.elementBytes,
            inside ? static_cast<size_t>(std::clamp<int64_t>(rest, 0, 16)) : size_t{0});
    }
  }
}

inline int64_t boxBytes(const TensorMapFields& map) {
  int64_t bytes = map.elementBytes;
  for (int d = 0; d < map.rank; ++d) bytes *= map.box[d];
  return bytes;
}

template <int kRank>
inline const TensorMapFields& checked(const TensorMap& map, const void* tile) {
  const TensorMapFields& fields = map.fields;
  if (fields.rank != kRank)
    emulation::current->fail("a copy at " + std::to_string(kRank) + " coordinates of a map of " + std::to_string(fields.rank));
  if (emulation::current->sharedOffset(tile, boxBytes(fields)) % kSwizzleAlignment != 0)
    emulation::current->fail("a swizzled tile that is not aligned to 1024 bytes");
  return fields;
}

}  // namespace emulated
#endif

// Starts a copy of the map's box at `at` (elements, innermost first; what lies outside of the tensor becomes 0) into `tile`. All
// bytes of the box count in `barrier`. By one thread.
template <int kRank>
__device__ __forceinline__ void loadTile(void* tile, const TensorMap& map, const int (&at)[kRank], PhaseBarrier& barrier) {
#if defined(CD_EMULATE)
  const emulated::TensorMapFields fields = emulated::checked<kRank>(map, tile);
  const int64_t bytes = emulated::boxBytes(fields);
  std::memset(tile, emulation::kPoison, bytes);
  std::array<int, kRank> place;
  std::copy(at, at + kRank, place.begin());
  emulation::current->transactions().copy(emulated::words(barrier), bytes, [=] {
    emulated::visitBox(fields, place.data(), [&](int byte, const char* source, size_t inside) {
      char* const target = static_cast<char*>(tile) + byte;
      if (inside > 0) std::memcpy(target, source, inside);
      std::memset(target + inside, 0, 16 - inside);
    });
  });
#else
  const uint64_t address = reinterpret_cast<uint64_t>(&map);
  const uint32_t target = sharedAddress(tile), done = sharedAddress(&barrier);
  if constexpr (kRank == 2)
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(target),
        "l"(address), "r"(done), "r"(at[0]), "r"(at[1])
        : "memory");
  else if constexpr (kRank == 3)
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(
            target),
        "l"(address), "r"(done), "r"(at[0]), "r"(at[1]), "r"(at[2])
        : "memory");
  else
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(
            target),
        "l"(address), "r"(done), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
        : "memory");
  static_assert(kRank >= 2 && kRank <= 4);
#endif
}

// Starts a copy of `tile` to the map's box at `at`; what lies outside of the tensor is left out. After fenceAsync and a barrier
// of those who wrote the tile, by one thread.
template <int kRank>
__device__ __forceinline__ void storeTile(const TensorMap& map, const int (&at)[kRank], const void* tile) {
#if defined(CD_EMULATE)
  const emulated::TensorMapFields fields = emulated::checked<kRank>(map, tile);
  std::array<int, kRank> place;
  std::copy(at, at + kRank, place.begin());
  emulation::current->stores.push_back([=] {
    emulated::visitBox(fields, place.data(), [&](int byte, char* target, size_t inside) {
      if (inside > 0) std::memcpy(target, static_cast<const char*>(tile) + byte, inside);
    });
  });
#else
  const uint64_t address = reinterpret_cast<uint64_t>(&map);
  const uint32_t source = sharedAddress(tile);
  if constexpr (kRank == 2)
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(address), "r"(source),
                 "r"(at[0]), "r"(at[1])
                 : "memory");
  else if constexpr (kRank == 3)
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.bulk_group [%0, {%2, %3, %4}], [%1];" ::"l"(address), "r"(source),
                 "r"(at[0]), "r"(at[1]), "r"(at[2])
                 : "memory");
  else
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(address),
                 "r"(source), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3])
                 : "memory");
  static_assert(kRank >= 2 && kRank <= 4);
#endif
}

// Ends a group of this thread's stores.
__device__ __forceinline__ void commitStores() {
#if defined(CD_EMULATE)
  emulation::current->commitStores();
#else
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last `Left` groups of this thread's stores have read shared memory, which may then be written again, or
// given up.
#if defined(CD_EMULATE)
template <int Left>
inline void waitStores(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->letOthersRun("waitStores", {file, line}, true);
  emulation::current->waitForStores(Left);
}
#else
template <int Left>
__device__ __forceinline__ void waitStores() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Left) : "memory");
}
#endif

// Waits until all of this thread's stores are done: whoever it lets know (cuda_turns.h) finds them in global memory.
#if defined(CD_EMULATE)
inline void waitStored(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { waitStores<0>(file, line); }
#else
__device__ __forceinline__ void waitStored() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
#endif

// --- stores of floats that lie together: a multiple of four, both ends aligned to 16 bytes; in groups, like those of tiles ----
#if defined(CD_EMULATE)
namespace emulated {
template <bool kAdd>
inline void storeFloats(float* target, const float* source, int count) {
  emulation::current->sharedOffset(source, int64_t{count} * 4);
  if ((reinterpret_cast<uintptr_t>(target) | reinterpret_cast<uintptr_t>(source)) % 16 != 0 || count % 4 != 0)
    emulation::current->fail("floats that are not aligned to 16 bytes, or not a multiple of four");
  emulation::current->stores.push_back([=] {
    for (int i = 0; i < count; ++i) target[i] = kAdd ? target[i] + source[i] : source[i];
  });
}
}  // namespace emulated
#endif

__device__ __forceinline__ void storeFloats(float* target, const float* source, int count) {
#if defined(CD_EMULATE)
  emulated::storeFloats<false>(target, source, count);
#else
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target), "r"(sharedAddress(source)),
               "r"(4 * count)
               : "memory");
#endif
}

// Adds to what is there, each sum rounded once. Sums have one order: only who has the turn (cuda_turns.h) may add.
__device__ __forceinline__ void addFloats(float* target, const float* source, int count) {
#if defined(CD_EMULATE)
  emulated::storeFloats<true>(target, source, count);
#else
  asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(target),
               "r"(sharedAddress(source)), "r"(4 * count)
               : "memory");
#endif
}

__device__ __forceinline__ void prefetchMap(const TensorMap& map) {
#if !defined(CD_EMULATE)
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<uint64_t>(&map)) : "memory");
#else
  static_cast<void>(map);
#endif
}

}  // namespace cd::cuda
