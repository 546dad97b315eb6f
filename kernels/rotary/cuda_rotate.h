// The rotation of spans, on the GPU: for `rotary`, and for keys on their way into a cache.
#pragma once

#include "../common/cuda_spans.h"

namespace cd::cuda {

// Rows of D dimensions of which (j, half + j) turn, cut into spans of pairs and then spans of the others.
struct Turn {
  Rows<float> cosSin;
  int64_t half, pairs;  // pairs: half, up to the next whole span
  float direction;
  bool packed;  // spans from `half` on are aligned where those from 0 on are

  Turn() = default;
  Turn(const Tensor& cosSin, float direction)
      : cosSin(cosSin),
        half(cosSin.present ? cosSin.shape[1] / 2 : 0),
        pairs(ceilDiv(half, kSpan) * kSpan),
        direction(direction),
        packed(half % kSpan == 0) {}

  __device__ int countAt(int64_t start) const { return static_cast<int>(half - start < kSpan ? half - start : kSpan); }
  template <class T>
  __device__ Rows<T> shifted(const Rows<T>& rows) const {
    Rows<T> result = rows;
    result.packed = rows.packed && packed;
    return result;
  }
  // Pairs (start + i, half + start + i) of a row.
  template <class T>
  __device__ void load(T (&a)[kSpan], T (&b)[kSpan], const Rows<T>& rows, int64_t row, int64_t start) const {
    rows.loadRaw(a, row, start, countAt(start));
    shifted(rows).loadRaw(b, row, half + start, countAt(start));
  }
  template <class T>
  __device__ void store(const T (&a)[kSpan], const T (&b)[kSpan], const Rows<T>& rows, int64_t row, int64_t start) const {
    rows.storeRaw(a, row, start, countAt(start));
    shifted(rows).storeRaw(b, row, half + start, countAt(start));
  }
  // Turns them by the angles of token t.
  template <class T>
  __device__ void apply(T (&a)[kSpan], T (&b)[kSpan], int64_t t, int64_t start) const {
    float c[kSpan], s[kSpan];
    load(c, s, cosSin, t, start);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      const float turned = s[i] * direction, first = toFloat(a[i]), second = toFloat(b[i]);
      a[i] = fromFloat<T>(fmaf(first, c[i], -(second * turned)));
      b[i] = fromFloat<T>(fmaf(second, c[i], first * turned));
    }
  }
};

}  // namespace cd::cuda
