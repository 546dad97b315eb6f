// The rotation of one row, on the CPU: for `rotary`, and for keys on their way into a cache.
#pragma once

#include "../common/fp8.h"
#include "../common/simd.h"

namespace cd::cpu {
using namespace simd;

// What X holds of a value, in Y.
template <class X, class Y>
inline void storeAs(Y* target, Vec value) {
  if constexpr (std::is_same_v<X, Y>) store(target, value);
  else {
    X rounded[kWidth];
    store(rounded, value);
    store(target, load(rounded));
  }
}
template <class X, class Y>
inline void storeTailAs(Y* target, Vec value, int64_t count) {
  Y lanes[kWidth];
  storeAs<X>(lanes, value);
  std::memcpy(target, lanes, static_cast<size_t>(count) * sizeof(Y));
}

// y [D] = x with dimensions (j, half + j) turned, rounded to X, then to Y. The others are the same numbers; y may be x.
template <class X, class Y>
inline void rotateRow(const X* x, const float* cosine, const float* sine, Y* y, int64_t half, int64_t D, float direction) {
  const auto turn = [&](int64_t count, auto&& get, auto&& put, int64_t j) {
    const Vec x1 = get(x + j, count), x2 = get(x + half + j, count);
    const Vec c = get(cosine + j, count), s = get(sine + j, count) * direction;
    put(y + j, fma(x1, c, -(x2 * s)), count);
    put(y + half + j, fma(x2, c, x1 * s), count);
  };
  int64_t j = 0;
  for (; j + kWidth <= half; j += kWidth)
    turn(kWidth, [](auto* p, int64_t) { return load(p); }, [](Y* p, Vec v, int64_t) { storeAs<X>(p, v); }, j);
  if (j < half)
    turn(half - j, [](auto* p, int64_t n) { return loadTail(p, n); }, [](Y* p, Vec v, int64_t n) { storeTailAs<X>(p, v, n); }, j);
  j = 2 * half;
  if constexpr (std::is_same_v<X, Y>) {
    if (y != x) std::memcpy(y + j, x + j, sizeof(X) * (D - j));
  } else {
    for (; j + kWidth <= D; j += kWidth) storeAs<X>(y + j, load(x + j));
    if (j < D) storeTailAs<X>(y + j, loadTail(x + j, D - j), D - j);
  }
}

}  // namespace cd::cpu
