#include <cmath>

#include "../common/cuda_spans.h"
#include "../common/dispatch.h"
#include "dynamic_map.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;
constexpr int kBlock = 256;  // elements that share one absmax: 8 for each lane of a warp
static_assert(kBlock == 32 * kSpan);

// Copies on the device: 9 kB each, that stay in the caches.
__device__ const DynamicMap kSigned = DynamicMap(true);
__device__ const DynamicMap kUnsigned = DynamicMap(false);

// What an update takes from the attributes, in f64 until the end, as the CPU does.
struct Attributes {
  double learningRate, beta1, beta2, eps, weightDecay, correction1, correction2;

  explicit Attributes(const Call& call)
      : learningRate(call.attribute(0)),
        beta1(call.attribute(1)),
        beta2(call.attribute(2)),
        eps(call.attribute(3)),
        weightDecay(call.attribute(4)),
        correction1(1 - std::pow(beta1, call.attribute(5))),
        correction2(std::sqrt(1 - std::pow(beta2, call.attribute(5)))) {}
};

// The new p as p's type holds it: f32 as it is, bf16 rounded at random, after which storing it changes nothing.
template <class T>
struct Rounding {
  uint64_t seed;
  uint32_t purpose, step;

  explicit Rounding(const Call& call)
      : seed(static_cast<uint64_t>(call.attribute(6))),
        purpose(static_cast<uint32_t>(call.attribute(7))),
        step(static_cast<uint32_t>(static_cast<uint64_t>(call.attribute(5)))) {}

  // Of the span that starts at element `start`, a multiple of 8.
  __device__ __forceinline__ void operator()(float (&values)[kSpan], int64_t start) const {
    if constexpr (std::is_same_v<T, BFloat16>) {
#pragma unroll
      for (int block = 0; block < kSpan / 4; ++block) {
        const Philox draws = philox(seed, purpose, step, static_cast<uint64_t>(start / 4 + block));
#pragma unroll
        for (int word = 0; word < 4; ++word) {
          float& value = values[4 * block + word];
          const unsigned bits = __float_as_uint(value);
          if ((bits & 0x7f800000u) != 0x7f800000u) value = __uint_as_float((bits + (draws.word[word] >> 16)) & 0xffff0000u);
        }
      }
    }
  }
};

template <class T>
struct AdamW {
  Rows<T> p;
  Rows<float> g, m, v;
  Rows<BFloat16> low;
  const float* gradientFactor;
  Rounding<T> rounding;
  float decay, rest1, keep2, rest2, correction2, eps, rate;

  AdamW(const Call& call, const Attributes& a)
      : p(call[0]),
        g(call[1]),
        m(call[2]),
        v(call[3]),
        low(call[5]),
        gradientFactor(call[4].as<float>()),
        rounding(call),
        decay(static_cast<float>(1 - a.learningRate * a.weightDecay)),
        rest1(static_cast<float>(1 - a.beta1)),
        keep2(static_cast<float>(a.beta2)),
        rest2(static_cast<float>(1 - a.beta2)),
        correction2(static_cast<float>(a.correction2)),
        eps(static_cast<float>(a.eps)),
        rate(static_cast<float>(a.learningRate / a.correction1)) {}

  __device__ void operator()(int64_t row, int64_t start, int count) const {
    const float factor = gradientFactor ? *gradientFactor : 1.0f;
    float pi[kSpan], gi[kSpan], mi[kSpan], vi[kSpan];
    p.load(pi, row, start, count);
    g.load(gi, row, start, count);
    m.load(mi, row, start, count);
    v.load(vi, row, start, count);
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      const float gradient = gi[i] * factor;
      mi[i] = fmaf(gradient - mi[i], rest1, mi[i]);
      vi[i] = fmaf(gradient * gradient, rest2, vi[i] * keep2);
      pi[i] = pi[i] * decay - rate * mi[i] / (sqrtf(vi[i]) / correction2 + eps);
    }
    rounding(pi, start);
    p.store(pi, row, start, count);
    m.store(mi, row, start, count);
    v.store(vi, row, start, count);
    low.store(pi, row, start, count);
  }
};

template <class T>
struct AdamW8Bit {
  Rows<T> p;
  Rows<float> g;
  Rows<uint8_t> mCodes, vCodes;
  Rows<BFloat16> low;
  float *mAbsmax, *vAbsmax;
  const float* gradientFactor;
  int64_t n;
  Rounding<T> rounding;
  float decay, keep1, rest1, keep2, rest2, eps, rate;
};

__device__ __forceinline__ void decode(const DynamicMap& map, const uint8_t (&codes)[kSpan], float scale, int count,
                                       float (&values)[kSpan]) {
#pragma unroll
  for (int i = 0; i < kSpan; ++i) values[i] = i < count ? map.value[codes[i]] * scale : 0.0f;
}

// The nearest codes of the warp's 256 values in units of the largest, which is returned: the search of dynamic_map.h.
__device__ __forceinline__ float encode(const DynamicMap& map, const float (&values)[kSpan], uint8_t (&codes)[kSpan]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kSpan; ++i) largest = fmaxf(largest, fabsf(values[i]));
  largest = warpMax(largest);
  const float divisor = largest > 0 ? largest : 1.0f;
#pragma unroll
  for (int i = 0; i < kSpan; ++i) {
    const float x = values[i] / divisor;
    const int bits = __float_as_int(x);
    int bucket = min(max(((bits & 0x7fffffff) >> 16) - DynamicMap::kFirstBucket, 0), DynamicMap::kBuckets - 1);
    if (bits < 0) bucket += DynamicMap::kBuckets;
    int code = map.first[bucket];
    code += x > map.middle[code];
    // A negative value keeps its sign: the code of zero moves one down.
    code -= x < 0.0f && code == DynamicMap::kSignedZero;
    codes[i] = static_cast<uint8_t>(code);
  }
  return largest;
}

// One warp for every block of 256 elements.
template <class T>
__global__ void __launch_bounds__(kThreads) adamw8Bit(AdamW8Bit<T> s) {
  const int64_t block = int64_t{blockIdx.x} * (kThreads / 32) + warpIndex(), start = block * kBlock + laneIndex() * kSpan;
  if (block * kBlock >= s.n) return;  // a whole warp
  const int64_t rest = s.n - start;
  const int count = static_cast<int>(rest < 0 ? 0 : rest < kSpan ? rest : kSpan);
  const float factor = s.gradientFactor ? *s.gradientFactor : 1.0f;
  float p[kSpan], g[kSpan], m[kSpan], v[kSpan], updated[kSpan];
  uint8_t codes[kSpan];
  s.p.load(p, 0, start, count);
  s.g.load(g, 0, start, count);
  s.mCodes.loadRaw(codes, 0, start, count);
  decode(kSigned, codes, s.mAbsmax[block], count, m);
  s.vCodes.loadRaw(codes, 0, start, count);
  decode(kUnsigned, codes, s.vAbsmax[block], count, v);
#pragma unroll
  for (int i = 0; i < kSpan; ++i) {
    const float gradient = g[i] * factor;
    const bool finite = gradient - gradient == 0;
    m[i] = finite ? fmaf(m[i], s.keep1, gradient * s.rest1) : 0.0f;
    v[i] = finite ? fmaf(v[i], s.keep2, gradient * gradient * s.rest2) : 0.0f;
    updated[i] = (p[i] - s.rate * m[i] / (sqrtf(v[i]) + s.eps)) * s.decay;
    if (!finite) updated[i] = p[i];
  }
  s.rounding(updated, start);  // a p of bf16 that stays as it is has no bits to round
  s.p.store(updated, 0, start, count);
  s.low.store(updated, 0, start, count);
  const float mLargest = encode(kSigned, m, codes);
  s.mCodes.storeRaw(codes, 0, start, count);
  const float vLargest = encode(kUnsigned, v, codes);
  s.vCodes.storeRaw(codes, 0, start, count);
  if (laneIndex() == 0) {
    s.mAbsmax[block] = mLargest;
    s.vAbsmax[block] = vLargest;
  }
}
}  // namespace

void adamw(const Call& call) {
  withFloat(call[0].dtype,
            [&](auto zero) { forSpans(call, 1, call[0].elements(), AdamW<decltype(zero)>(call, Attributes(call))); });
}

void adamw_8bit(const Call& call) {
  const Attributes a(call);
  const int64_t n = call[0].elements();
  const auto rounded = [](double value) { return static_cast<float>(value); };
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const AdamW8Bit<T> settings{Rows<T>(call[0]),
                                Rows<float>(call[1]),
                                Rows<uint8_t>(call[2]),
                                Rows<uint8_t>(call[4]),
                                Rows<BFloat16>(call[7]),
                                call[3].as<float>(),
                                call[5].as<float>(),
                                call[6].as<float>(),
                                n,
                                Rounding<T>(call),
                                rounded(1 - a.learningRate * a.weightDecay),
                                rounded(a.beta1),
                                rounded(1 - a.beta1),
                                rounded(a.beta2),
                                rounded(1 - a.beta2),
                                rounded(a.correction2 * a.eps),
                                rounded(a.learningRate * a.correction2 / a.correction1)};
    launch(call, static_cast<unsigned>(ceilDiv(n, kBlock * (kThreads / 32))), kThreads, 0, adamw8Bit<T>, settings);
  });
}

}  // namespace cd::cuda
