#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/fp8.h"

namespace cd::cpu {

namespace {
template <class T>
void fillWith(const Call& call, T value) {
  for (int group = 0; group < call.groups; ++group) {
    const Tensor& y = call[group];
    forSpans(call, y, y.contiguous(), [&](int64_t row, int64_t start, int64_t count) {
      T* target = y.row<T>(row) + start;
      for (int64_t i = 0; i < count; ++i) target[i] = value;
    });
  }
}

template <class X, class Y>
void convert(const Call& call) {
  forSpans(call, call[0], allContiguous(call, {0, 1}), [&](int64_t row, int64_t start, int64_t count) {
    map(count, call[1].row<Y>(row) + start, [](simd::Vec x) { return x; }, call[0].row<X>(row) + start);
  });
}

void copyBytes(const Call& call) {
  const int64_t size = dtypeSize(call[0].dtype);
  forSpans(call, call[0], allContiguous(call, {0, 1}), [&](int64_t row, int64_t start, int64_t count) {
    std::memcpy(call[1].as<char>() + (row * call[1].rowStride + start) * size,
                call[0].as<char>() + (row * call[0].rowStride + start) * size, count * size);
  });
}
}  // namespace

void fill(const Call& call) {
  const double value = call.attribute(0);
  switch (call[0].dtype) {
    case DType::F32:
      return fillWith(call, static_cast<float>(value));
    case DType::BF16:
      return fillWith(call, toBFloat16(static_cast<float>(value)));
    case DType::I32:
      return fillWith(call, static_cast<int32_t>(value));
    case DType::U8:
      return fillWith(call, static_cast<uint8_t>(value));
    case DType::FP8:
      return fillWith(call, toFloat8(static_cast<float>(value)));
  }
}

void copy(const Call& call) {
  if (call[0].dtype == call[1].dtype) copyBytes(call);
  else if (call[0].dtype == DType::F32) convert<float, BFloat16>(call);
  else convert<BFloat16, float>(call);
}

void add(const Call& call) {
  const simd::Vec factor = simd::splat(static_cast<float>(call.attribute(0)));
  withFloat(call[0].dtype, [&](auto zeroA) {
    withFloat(call[1].dtype, [&](auto zeroB) {
      using A = decltype(zeroA);
      using B = decltype(zeroB);
      forSpans(call, call[0], allContiguous(call, {0, 1, 2}), [&](int64_t row, int64_t start, int64_t count) {
        map(
            count, call[2].row<A>(row) + start, [factor](simd::Vec a, simd::Vec b) { return simd::fma(factor, b, a); },
            call[0].row<A>(row) + start, call[1].row<B>(row) + start);
      });
    });
  });
}

void scale(const Call& call) {
  const simd::Vec factor = simd::splat(static_cast<float>(call.attribute(0)));
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1}), [&](int64_t row, int64_t start, int64_t count) {
      map(count, call[1].row<T>(row) + start, [factor](simd::Vec x) { return x * factor; }, call[0].row<T>(row) + start);
    });
  });
}

void mul(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1, 2}), [&](int64_t row, int64_t start, int64_t count) {
      map(
          count, call[2].row<T>(row) + start, [](simd::Vec a, simd::Vec b) { return a * b; }, call[0].row<T>(row) + start,
          call[1].row<T>(row) + start);
    });
  });
}

void exp(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], allContiguous(call, {0, 1}), [&](int64_t row, int64_t start, int64_t count) {
      map(count, call[1].row<T>(row) + start, [](simd::Vec x) { return simd::exp(x); }, call[0].row<T>(row) + start);
    });
  });
}

}  // namespace cd::cpu
