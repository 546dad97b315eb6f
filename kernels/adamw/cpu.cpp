#include <algorithm>
#include <vector>

#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/philox_vector.h"
#include "dynamic_map.h"
#include "rates.h"

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

AdamWRates ratesOf(const Call& call) {
  const int32_t step = *call[1].as<int32_t>();
  if (step < 1) throw Error(refusedStep(call, step));
  return AdamWRates::of(AdamWSettings(call), *call[0].as<float>(), step, call[2].present ? *call[2].as<float>() : 1.0f);
}

// body(group, start, count): spans of all groups' parameters, in parallel. `span` elements at most, whole spans from the start of
// each.
template <class Body>
void forGroups(const Call& call, int64_t span, Body&& body) {
  std::vector<int64_t> ends;  // of each group's spans, counted through
  for (int group = 0; group < call.groups; ++group)
    ends.push_back((ends.empty() ? 0 : ends.back()) + (call[call.tensorOf(group, 3)].elements() + span - 1) / span);
  if (ends.back() == 0) return;
  call.parallelFor(ends.back(), [&](int64_t task, int) {
    const int group = static_cast<int>(std::upper_bound(ends.begin(), ends.end(), task) - ends.begin());
    const int64_t start = (task - (group > 0 ? ends[group - 1] : 0)) * span,
                  left = call[call.tensorOf(group, 3)].elements() - start;
    body(group, start, left < span ? left : span);
  });
}

// The new p as p's type holds it: f32 as it is, bf16 rounded at random, after which storing it changes nothing.
template <class T>
class Rounding {
 public:
  Rounding(const Call& call, const AdamWRates& rates, int group)
      : seed_(AdamWSettings(call).seed),
        purpose_(static_cast<uint32_t>(call.attribute(call.attributeOf(group, 5)))),
        step_(rates.step),
        first_(static_cast<int64_t>(call.attribute(call.attributeOf(group, 6)))) {}

  // Of the elements from `index` on. Called with every kWidth-th index in turn, the first a multiple of kWords.
  Vec operator()(Vec value, int64_t index) {
    if constexpr (std::is_same_v<T, float>) return value;
    const int64_t at = index % kWords;
    if (at == 0) draw(seed_, purpose_, step_, static_cast<uint64_t>(first_ + index) / 4, words_);
    const UVec bits = reinterpret_cast<UVec>(value), word = *reinterpret_cast<const UVec*>(words_ + at);
    const UVec rounded = (bits + (word >> 16)) & 0xffff0000u;
    const UVec finite = reinterpret_cast<UVec>((bits & 0x7f800000u) != 0x7f800000u);
    return reinterpret_cast<Vec>((finite & rounded) | (~finite & bits));
  }

 private:
  static constexpr int64_t kWords = 4 * kWidth;
  static_assert(kSpanElements % kWords == 0 && kBlock % kWords == 0);
  const uint64_t seed_;
  const uint32_t purpose_, step_;
  const int64_t first_;
  uint32_t words_[kWords];
};

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
  const AdamWRates rates = ratesOf(call);
  const Vec decay = splat(rates.decay), factor = splat(rates.factor);
  const Vec rest1 = splat(rates.rest1), keep2 = splat(rates.keep2), rest2 = splat(rates.rest2);
  const Vec correction2 = splat(rates.correction2), eps = splat(rates.eps), rate = splat(rates.rate);
  withFloat(call[3].dtype, [&](auto zero) {
    using T = decltype(zero);
    forGroups(call, kSpanElements, [&](int group, int64_t start, int64_t count) {
      const Tensor* const tensors = call.tensors + call.tensorOf(group, 3);
      T* p = tensors[0].as<T>() + start;
      const float* g = tensors[1].as<float>() + start;
      float *m = tensors[2].as<float>() + start, *v = tensors[3].as<float>() + start;
      BFloat16* low = tensors[4].present ? tensors[4].as<BFloat16>() + start : nullptr;
      Rounding<T> rounding(call, rates, group);
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
  const AdamWRates rates = ratesOf(call);
  const Vec decay = splat(rates.decay), factor = splat(rates.factor);
  const Vec keep1 = splat(rates.keep1), rest1 = splat(rates.rest1), keep2 = splat(rates.keep2), rest2 = splat(rates.rest2);
  const Vec eps = splat(rates.eps8), rate = splat(rates.rate8);
  forGroups(call, kBlocksPerTask * kBlock, [&](int group, int64_t begin, int64_t elements) {
    const Tensor* const tensors = call.tensors + call.tensorOf(group, 3);
    alignas(64) Block state;
    Rounding<T> rounding(call, rates, group);
    for (int64_t start = begin; start < begin + elements; start += kBlock) {
      const int64_t block = start / kBlock, left = begin + elements - start, count = left < kBlock ? left : kBlock;
      const int64_t padded = (count + kWidth - 1) / kWidth * kWidth;
      T* p = tensors[0].as<T>() + start;
      const float* g = tensors[1].as<float>() + start;
      uint8_t *mCodes = tensors[2].as<uint8_t>() + start, *vCodes = tensors[4].as<uint8_t>() + start;
      float *mAbsmax = tensors[3].as<float>() + block, *vAbsmax = tensors[5].as<float>() + block;
      BFloat16* low = tensors[6].present ? tensors[6].as<BFloat16>() + start : nullptr;
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
  withFloat(call[3].dtype, [&](auto zero) { step8bit<decltype(zero)>(call); });
}

}  // namespace cd::cpu
