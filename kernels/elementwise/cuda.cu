#include "../common/cuda_group_spans.h"
#include "../common/dispatch.h"
#include "../common/fp8.h"

namespace cd::cuda {

namespace {
template <class T>
__global__ void __launch_bounds__(kRunThreads) fillRuns(GRID_CONSTANT(GroupTable<Part<T>>) table, T value) {
  T values[kSpan];
#pragma unroll
  for (int i = 0; i < kSpan; ++i) values[i] = value;
  forRun<T>(table,
            [&](const Part<T>& part, int64_t row, int64_t start, int count) { part.x.storeRaw(values, row, start, count); });
}

template <class T>
struct CopyRaw {
  Rows<T> x, y;
  __device__ void operator()(int64_t row, int64_t start, int count) const {
    T values[kSpan];
    x.loadRaw(values, row, start, count);
    y.storeRaw(values, row, start, count);
  }
};

template <class T>
void copyRaw(const Call& call) {
  forSpans(call, call[0], allContiguous(call, {0, 1}), CopyRaw<T>{Rows<T>(call[0]), Rows<T>(call[1])});
}

// y = function(x)
template <class X, class Y, class Function>
struct Map {
  Rows<X> x;
  Rows<Y> y;
  Function function;
  __device__ void operator()(int64_t row, int64_t start, int count) const {
    float values[kSpan];
    x.load(values, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) values[i] = function(values[i]);
    y.store(values, row, start, count);
  }
};

// y = function(a, b); y has a's dtype
template <class A, class B, class Function>
struct Map2 {
  Rows<A> a;
  Rows<B> b;
  Rows<A> y;
  Function function;
  __device__ void operator()(int64_t row, int64_t start, int count) const {
    float values[kSpan], others[kSpan];
    a.load(values, row, start, count);
    b.load(others, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) values[i] = function(values[i], others[i]);
    y.store(values, row, start, count);
  }
};

struct Identity {
  __device__ float operator()(float x) const { return x; }
};
struct Scale {
  float factor;
  __device__ float operator()(float x) const { return x * factor; }
};
struct Exponential {
  __device__ float operator()(float x) const { return expf(x); }
};
struct AddScaled {
  float factor;
  __device__ float operator()(float a, float b) const { return fmaf(factor, b, a); }
};
struct Product {
  __device__ float operator()(float a, float b) const { return a * b; }
};

template <class X, class Y, class Function>
void map(const Call& call, Function function) {
  forSpans(call, call[0], allContiguous(call, {0, 1}), Map<X, Y, Function>{Rows<X>(call[0]), Rows<Y>(call[1]), function});
}
template <class A, class B, class Function>
void map2(const Call& call, Function function) {
  forSpans(call, call[0], allContiguous(call, {0, 1, 2}),
           Map2<A, B, Function>{Rows<A>(call[0]), Rows<B>(call[1]), Rows<A>(call[2]), function});
}

template <class T>
void fillWith(const Call& call, T value) {
  forParts<T>(call, 0, [&](const GroupTable<Part<T>>& table) {
    launch(call, static_cast<unsigned>(table.pieces), kRunThreads, 0, fillRuns<T>, table, value);
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
  if (call[0].dtype != call[1].dtype) {
    if (call[0].dtype == DType::F32) map<float, BFloat16>(call, Identity{});
    else map<BFloat16, float>(call, Identity{});
  } else {
    switch (dtypeSize(call[0].dtype)) {
      case 4:
        return copyRaw<uint32_t>(call);
      case 2:
        return copyRaw<uint16_t>(call);
      default:
        return copyRaw<uint8_t>(call);
    }
  }
}

void add(const Call& call) {
  withFloat(call[0].dtype, [&](auto zeroA) {
    withFloat(call[1].dtype, [&](auto zeroB) {
      map2<decltype(zeroA), decltype(zeroB)>(call, AddScaled{static_cast<float>(call.attribute(0))});
    });
  });
}

void scale(const Call& call) {
  withFloat(call[0].dtype,
            [&](auto zero) { map<decltype(zero), decltype(zero)>(call, Scale{static_cast<float>(call.attribute(0))}); });
}

void mul(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) { map2<decltype(zero), decltype(zero)>(call, Product{}); });
}

void exp(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) { map<decltype(zero), decltype(zero)>(call, Exponential{}); });
}

}  // namespace cd::cuda
