// The sum over ranks on the host.
#pragma once

#include <algorithm>
#include <cstring>

#include "../../native/kernel.h"

namespace cd {

// target[i] = parts[0][i] + parts[1][i] + …, in that order; target may be one of the parts.
template <class T>
void sumParts(const char* const* parts, int ranks, void* target, int64_t count) {
  using Total = std::conditional_t<std::is_same_v<T, int32_t>, uint32_t, float>;
  constexpr int64_t kBlock = 2048;  // so that the totals stay in the nearest cache
  Total totals[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    for (int rank = 0; rank < ranks; ++rank) {
      const T* values = reinterpret_cast<const T*>(parts[rank]) + begin;
      for (int64_t i = 0; i < length; ++i) {
        Total value;
        if constexpr (std::is_same_v<T, int32_t>) value = static_cast<uint32_t>(values[i]);
        else value = toFloat(values[i]);
        totals[i] = rank == 0 ? value : totals[i] + value;
      }
    }
    T* out = static_cast<T*>(target) + begin;
    for (int64_t i = 0; i < length; ++i) {
      if constexpr (std::is_same_v<T, int32_t>) out[i] = static_cast<int32_t>(totals[i]);
      else out[i] = fromFloat<T>(totals[i]);
    }
  }
}

inline void sumParts(DType dtype, const char* const* parts, int ranks, void* target, int64_t count) {
  if (dtype == DType::BF16) sumParts<BFloat16>(parts, ranks, target, count);
  else if (dtype == DType::I32) sumParts<int32_t>(parts, ranks, target, count);
  else sumParts<float>(parts, ranks, target, count);
}

// Data that is there already stays: it may be another rank's to read.
inline void placePart(char* target, const char* source, int64_t bytes) {
  if (target != source && bytes > 0) std::memcpy(target, source, bytes);
}

}  // namespace cd
