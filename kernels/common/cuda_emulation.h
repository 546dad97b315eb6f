// The part of CUDA C++ that kernels here use, for a host compiler: see cuda_fibers.h for how it runs. What is not here is not
// part of the language of the kernels; float atomics are missing on purpose, their order is not fixed.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "cuda_fibers.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(bytes) __attribute__((aligned(bytes)))

using dim3 = cd::emulation::Dim3;
#define threadIdx (::cd::emulation::current->index)
#define blockIdx (::cd::emulation::blockPlace)
#define blockDim (::cd::emulation::blockSize)
#define gridDim (::cd::emulation::gridSize)
constexpr int warpSize = 32;

// --- vector types ---------------------------------------------------------------------------------------------------
#define CD_VECTOR2(name, T, bytes) \
  struct alignas(bytes) name {     \
    T x, y;                        \
  };                               \
  inline name make_##name(T x, T y) { return {x, y}; }
#define CD_VECTOR4(name, T, bytes) \
  struct alignas(bytes) name {     \
    T x, y, z, w;                  \
  };                               \
  inline name make_##name(T x, T y, T z, T w) { return {x, y, z, w}; }
CD_VECTOR2(float2, float, 8)
CD_VECTOR2(int2, int, 8)
CD_VECTOR2(uint2, unsigned, 8)
CD_VECTOR4(float4, float, 16)
CD_VECTOR4(int4, int, 16)
CD_VECTOR4(uint4, unsigned, 16)
#undef CD_VECTOR2
#undef CD_VECTOR4

// --- barriers and warps ---------------------------------------------------------------------------------------------
#define CD_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CD_PLACE) { cd::emulation::current->meetBlock(0, 0, false, "__syncthreads", {file, line}); }
inline int __syncthreads_count(int vote, CD_PLACE) {
  return cd::emulation::current->meetBlock(0, 0, vote != 0, "__syncthreads_count", {file, line});
}
inline int __syncthreads_or(int vote, CD_PLACE) {
  return cd::emulation::current->meetBlock(0, 0, vote != 0, "__syncthreads_or", {file, line}) > 0;
}
inline int __syncthreads_and(int vote, CD_PLACE) {
  return cd::emulation::current->meetBlock(0, 0, vote == 0, "__syncthreads_and", {file, line}) == 0;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace cd::emulation {

// Every lane of `mask` brings its arguments; complete(lanes) gets a pointer to each lane's, null for lanes outside the mask.
template <class Arguments, class Complete>
inline void meet(uint32_t mask, Arguments& arguments, Complete complete, const char* what, Place where) {
  current->meetWarp(
      mask, &arguments, [](void** lanes, void* state) { (*static_cast<Complete*>(state))(reinterpret_cast<Arguments**>(lanes)); },
      &complete, what, where);
}

template <class T>
struct Exchange {
  T value;
  int source;  // lane
  T result;
};

template <class T>
inline T exchange(uint32_t mask, T value, int source, const char* what, Place where) {
  Exchange<T> mine{value, source, value};
  const auto complete = [&](Exchange<T>** lanes) {
    for (int lane = 0; lane < kWarpSize; ++lane) {
      if (!lanes[lane]) continue;
      const Exchange<T>* from = lanes[lanes[lane]->source];
      if (!from)
        current->fail(std::string(what) + " of lane " + std::to_string(lane) + " reads lane " +
                          std::to_string(lanes[lane]->source) + ", which takes no part",
                      where);
      lanes[lane]->result = from->value;
    }
  };
  meet(mask, mine, complete, what, where);
  return mine.result;
}

inline uint32_t ballot(uint32_t mask, bool vote, const char* what, Place where) {
  struct Vote {
    bool vote;
    uint32_t result;
  } mine{vote, 0};
  const auto complete = [](Vote** lanes) {
    uint32_t votes = 0;
    for (int lane = 0; lane < kWarpSize; ++lane)
      if (lanes[lane] && lanes[lane]->vote) votes |= 1u << lane;
    for (int lane = 0; lane < kWarpSize; ++lane)
      if (lanes[lane]) lanes[lane]->result = votes;
  };
  meet(mask, mine, complete, what, where);
  return mine.result;
}

}  // namespace cd::emulation

inline void __syncwarp(unsigned mask = 0xffffffffu, CD_PLACE) { cd::emulation::ballot(mask, false, "__syncwarp", {file, line}); }
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, CD_PLACE) {
  const int lane = cd::emulation::current->lane();
  return cd::emulation::exchange(mask, value, (lane & ~(width - 1)) | (source & (width - 1)), "__shfl_sync", {file, line});
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CD_PLACE) {
  const int lane = cd::emulation::current->lane(), source = lane ^ bits;
  const bool inside = source < (lane & ~(width - 1)) + width;
  return cd::emulation::exchange(mask, value, inside ? source : lane, "__shfl_xor_sync", {file, line});
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CD_PLACE) {
  const int lane = cd::emulation::current->lane(), place = lane & (width - 1);
  const bool inside = place + static_cast<int>(delta) < width;
  return cd::emulation::exchange(mask, value, inside ? lane + static_cast<int>(delta) : lane, "__shfl_down_sync", {file, line});
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CD_PLACE) {
  const int lane = cd::emulation::current->lane(), place = lane & (width - 1);
  const bool inside = place >= static_cast<int>(delta);
  return cd::emulation::exchange(mask, value, inside ? lane - static_cast<int>(delta) : lane, "__shfl_up_sync", {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int vote, CD_PLACE) {
  return cd::emulation::ballot(mask, vote != 0, "__ballot_sync", {file, line});
}
inline int __any_sync(unsigned mask, int vote, CD_PLACE) {
  return cd::emulation::ballot(mask, vote != 0, "__any_sync", {file, line}) != 0;
}
inline int __all_sync(unsigned mask, int vote, CD_PLACE) {
  return cd::emulation::ballot(mask, vote == 0, "__all_sync", {file, line}) == 0;
}
#undef CD_PLACE

// --- atomics: of integers, whose sums have no order. Threads take turns, so plain arithmetic is atomic.
// ---------------------------------
template <class T>
concept AtomicInteger = std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

template <AtomicInteger T>
inline T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}
template <AtomicInteger T>
inline T atomicAdd(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, static_cast<T>(*address + value));
}
template <AtomicInteger T>
inline T atomicMax(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, *address < value ? value : *address);
}
template <AtomicInteger T>
inline T atomicMin(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, value < *address ? value : *address);
}
template <AtomicInteger T>
inline T atomicOr(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, static_cast<T>(*address | value));
}
template <AtomicInteger T>
inline T atomicAnd(T* address, std::type_identity_t<T> value) {
  return atomicExch(address, static_cast<T>(*address & value));
}
template <AtomicInteger T>
inline T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return atomicExch(address, *address == expected ? value : *address);
}

// --- memory, bits and numbers -----------------------------------------------------------------------------------------
template <class T>
inline T __ldg(const T* address) {
  return *address;
}
inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }
inline float __int_as_float(int bits) { return std::bit_cast<float>(bits); }
inline int __float_as_int(float value) { return std::bit_cast<int>(value); }
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __popcll(unsigned long long bits) { return std::popcount(bits); }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }

// --- launching --------------------------------------------------------------------------------------------------------
namespace cd::emulation {

template <class... Parameters>
inline void launch(const Launch& launch, void (*kernel)(Parameters...),
                   const std::tuple<std::remove_cvref_t<Parameters>...>& arguments) {
  struct State {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_cvref_t<Parameters>...> arguments;
  };
  onStream([launch, state = State{kernel, arguments}]() mutable {
    runGrid(
        launch,
        [](void* opaque) {
          const State& state = *static_cast<State*>(opaque);
          std::apply(state.kernel, state.arguments);
        },
        &state);
  });
}

// One for every type and line.
template <class T>
inline T& sharedVariable(int line) {
  static const char key = 0;
  return *static_cast<T*>(current->sharedVariable(&key, line, sizeof(T), alignof(T)));
}

}  // namespace cd::emulation
