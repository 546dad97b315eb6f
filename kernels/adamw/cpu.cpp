#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/philox_vector.h"
#include "dynamic_map.h"

namespace cd::cpu {
using namespace simd;

namespace {
constexpr int64_t kBlock = 256;  // elements that share one absmax
constexpr int64_t kBlocksPerTask = 64;

inline Vec squareRoot(Vec x) {
  float lanes[kWidth];
  store(lanes, x);
  for (float& lane : lanes) lane = std::sqrt(lane);
  return load(lanes);
}

struct Settings {
  double learningRate, beta1, beta2, eps, weightDecay, correction1, correction2;
  uint64_t seed;
  uint32_t purpose, step;
  float factor;

  Settings(const Call& call, const Tensor& gradientFactor)
      : learningRate(call.attribute(0)),
        beta1(call.attribute(1)),
        beta2(call.attribute(2)),
        eps(call.attribute(3)),
        weightDecay(call.attribute(4)),
        correction1(1 - std::pow(beta1, call.attribute(5))),
        correction2(std::sqrt(1 - std::pow(beta2, call.attribute(5)))),
        seed(static_cast<uint64_t>(call.attribute(6))),
        purpose(static_cast<uint32_t>(call.attribute(7))),
        step(static_cast<uint32_t>(static_cast<uint64_t>(call.attribute(5)))),
        factor(gradientFactor.present ? *gradientFactor.as<float>() : 1.0f) {}
};

// The new p as p's type holds it: f32 as it is, bf16 rounded at random, after which storing it changes nothing.
template <class T>
class Rounding {
 public:
  explicit Rounding(const Settings& settings) : settings_(settings) {}

  // Of the elements from `index` on. Called with every kWidth-th index in turn, the first a multiple of kWords.
  Vec operator()(Vec value, int64_t index) {
    if constexpr (std::is_same_v<T, float>) return value;
    const int64_t at = index % kWords;
    if (at == 0) draw(settings_.seed, settings_.purpose, settings_.step, static_cast<uint64_t>(index) / 4, words_);
    const UVec bits = reinterpret_cast<UVec>(value), word = *reinterpret_cast<const UVec*>(words_ + at);
    const UVec rounded = (bits + (word >> 16)) & 0xffff0000u;
    const UVec finite = reinterpret_cast<UVec>((bits & 0x7f800000u) != 0x7f800000u);
    return reinterpret_cast<Vec>((finite & rounded) | (~finite & bits));
  }

 private:
  static constexpr int64_t kWords = 4 * kWidth;
  static_assert(kSpanElements % kWords == 0 && kBlock % kWords == 0);
  const Settings& settings_;
  uint32_t words_[kWords];
};

Vec splatDouble(double value) { return splat(static_cast<float>(value)); }

// One block of 8-bit state: at most 256 elements.
struct Block {
  float m[kBlock], v[kBlock];

  static float absmax(const float* values, int64_t padded) {
    Vec largest{};
    for (int64_t i = 0; i < padded; i += kWidth) {
      const Vec x = load(values + i);
      largest = simd::maximum(simd::maximum(x, -x), largest);
    }
    return simd::maximum(largest);
  }

  static void decode(const DynamicMap& map, const uint8_t* codes, float scale, int64_t count, int64_t padded, float* values) {
    for (int64_t i = 0; i < count; ++i) values[i] = map.value[codes[i]] * scale;
    for (int64_t i = count; i < padded; ++i) values[i] = 0;
  }

  // The search of dynamic_map.h in three loops, of which only the table look-ups are not vectorised.
  static float encode(const DynamicMap& map, float* values, int64_t count, int64_t padded, uint8_t* codes) {
    const float scale = absmax(values, padded);
    const Vec divisor = splat(scale > 0 ? scale : 1.0f);
    int32_t buckets[kBlock], nearest[kBlock];
    float middles[kBlock];
    for (int64_t i = 0; i < padded; i += kWidth) {
      const Vec x = load(values + i) / divisor;
      store(values + i, x);
      const IVec bits = reinterpret_cast<IVec>(x), last = IVec{} + (DynamicMap::kBuckets - 1);
      IVec bucket = ((bits & 0x7fffffff) >> 16) - DynamicMap::kFirstBucket;
      bucket = bucket < 0 ? IVec{} : bucket;
      bucket = bucket > last ? last : bucket;
      *reinterpret_cast<IVec*>(buckets + i) = bucket + ((bits < 0) & DynamicMap::kBuckets);
    }
    for (int64_t i = 0; i < padded; ++i) {
      nearest[i] = map.first[buckets[i]];
      middles[i] = map.middle[nearest[i]];
    }
    for (int64_t i = 0; i < padded; i += kWidth) {
      const Vec x = load(values + i);
      IVec code = *reinterpret_cast<const IVec*>(nearest + i);
      code -= x > load(middles + i);
      // A negative value keeps its sign: the code of zero moves one down. (Masks are −1.)
      code += (x < 0.0f) & (code == DynamicMap::kSignedZero);
      *reinterpret_cast<IVec*>(nearest + i) = code;
    }
    for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<uint8_t>(nearest[i]);
    return scale;
  }
};
}  // namespace

void adamw(const Call& call) {
  const Settings s(call, call[4]);
  const Vec decay = splatDouble(1 - s.learningRate * s.weightDecay), factor = splat(s.factor);
  const Vec rest1 = splatDouble(1 - s.beta1), keep2 = splatDouble(s.beta2), rest2 = splatDouble(1 - s.beta2);
  const Vec correction2 = splatDouble(s.correction2), eps = splatDouble(s.eps),
            rate = splatDouble(s.learningRate / s.correction1);
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, call[0], true, [&](int64_t, int64_t start, int64_t count) {
      T* p = call[0].as<T>() + start;
      float *m = call[2].as<float>() + start, *v = call[3].as<float>() + start;
      const float* g = call[1].as<float>() + start;
      BFloat16* low = call[5].present ? call[5].as<BFloat16>() + start : nullptr;
      Rounding<T> rounding(s);
      const auto step = [&](Vec& pi, Vec gi, Vec& mi, Vec& vi, int64_t i) {
        gi *= factor;
        mi = fma(gi - mi, rest1, mi);
        vi = fma(gi * gi, rest2, vi * keep2);
        pi = rounding(pi * decay - rate * mi / (squareRoot(vi) / correction2 + eps), start + i);
      };
      int64_t i = 0;
      for (; i + kWidth <= count; i += kWidth) {
        Vec pi = load(p + i), mi = load(m + i), vi = load(v + i);
        step(pi, load(g + i), mi, vi, i);
        store(p + i, pi);
        store(m + i, mi);
        store(v + i, vi);
        if (low) store(low + i, pi);
      }
      if (const int64_t tail = count - i; tail > 0) {
        Vec pi = loadTail(p + i, tail), mi = loadTail(m + i, tail), vi = loadTail(v + i, tail);
        step(pi, loadTail(g + i, tail), mi, vi, i);
        storeTail(p + i, pi, tail);
        storeTail(m + i, mi, tail);
        storeTail(v + i, vi, tail);
        if (low) storeTail(low + i, pi, tail);
      }
    });
  });
}

namespace {
template <class T>
void step8bit(const Call& call) {
  const Settings s(call, call[6]);
  const int64_t n = call[0].elements(), blocks = (n + kBlock - 1) / kBlock;
  const Vec decay = splatDouble(1 - s.learningRate * s.weightDecay), factor = splat(s.factor);
  const Vec keep1 = splatDouble(s.beta1), rest1 = splatDouble(1 - s.beta1), keep2 = splatDouble(s.beta2),
            rest2 = splatDouble(1 - s.beta2);
  const Vec eps = splatDouble(s.correction2 * s.eps), rate = splatDouble(s.learningRate * s.correction2 / s.correction1);
  if (blocks == 0) return;
  call.parallelFor((blocks + kBlocksPerTask - 1) / kBlocksPerTask, [&](int64_t task, int) {
    alignas(64) Block state;
    Rounding<T> rounding(s);
    for (int64_t block = task * kBlocksPerTask; block < blocks && block < (task + 1) * kBlocksPerTask; ++block) {
      const int64_t start = block * kBlock, count = n - start < kBlock ? n - start : kBlock;
      const int64_t padded = (count + kWidth - 1) / kWidth * kWidth;
      T* p = call[0].as<T>() + start;
      float *mAbsmax = call[3].as<float>() + block, *vAbsmax = call[5].as<float>() + block;
      const float* g = call[1].as<float>() + start;
      uint8_t *mCodes = call[2].as<uint8_t>() + start, *vCodes = call[4].as<uint8_t>() + start;
      BFloat16* low = call[7].present ? call[7].as<BFloat16>() + start : nullptr;
      Block::decode(kSignedMap, mCodes, *mAbsmax, count, padded, state.m);
      Block::decode(kUnsignedMap, vCodes, *vAbsmax, count, padded, state.v);
      for (int64_t i = 0; i < padded; i += kWidth) {
        const int64_t tail = count - i < kWidth ? count - i : 0;
        const Vec pi = tail ? loadTail(p + i, tail) : load(p + i);
        const Vec gi = (tail ? loadTail(g + i, tail) : load(g + i)) * factor;
        const IVec finite = (gi - gi) == Vec{};
        const Vec m = fma(load(state.m + i), keep1, gi * rest1), v = fma(load(state.v + i), keep2, gi * gi * rest2);
        const Vec updated = (pi - rate * m / (squareRoot(v) + eps)) * decay;
        const Vec rounded = rounding(updated, start + i);
        const Vec result = finite ? rounded : pi;
        store(state.m + i, finite ? m : Vec{});
        store(state.v + i, finite ? v : Vec{});
        if (tail) {
          storeTail(p + i, result, tail);
          if (low) storeTail(low + i, result, tail);
        } else {
          store(p + i, result);
          if (low) store(low + i, result);
        }
      }
      *mAbsmax = Block::encode(kSignedMap, state.m, count, padded, mCodes);
      *vAbsmax = Block::encode(kUnsignedMap, state.v, count, padded, vCodes);
    }
  });
}
}  // namespace

void adamw_8bit(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) { step8bit<decltype(zero)>(call); });
}

}  // namespace cd::cpu
