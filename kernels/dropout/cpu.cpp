#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/philox.h"

namespace cd::cpu {
using namespace simd;

namespace {
typedef uint64_t WideVec __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

// The 64-bit products of the even lanes.
inline WideVec multiplyEven(WideVec a, WideVec b) {
#if defined(__AVX512F__)
  // The masked form: the plain one trips GCC 12's -Wuninitialized.
  return reinterpret_cast<WideVec>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<WideVec>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// The 64-bit products of a vector of 32-bit words with one multiplier.
inline void multiply(UVec a, uint32_t multiplier, UVec& high, UVec& low) {
  const WideVec words = reinterpret_cast<WideVec>(a), factor = WideVec{} + multiplier;
  const WideVec even = multiplyEven(words, factor), odd = multiplyEven(words >> 32, factor);
  high = reinterpret_cast<UVec>((even >> 32) | (odd & 0xffffffff00000000u));
  low = a * multiplier;
}

// a[0], b[0], a[1], b[1], …: the lower or the upper half.
inline UVec interleave(UVec a, UVec b, int from) {
  UVec mask;
  for (int lane = 0; lane < kWidth; ++lane) mask[lane] = static_cast<uint32_t>(from + lane / 2 + (lane & 1) * kWidth);
  return __builtin_shuffle(a, b, mask);
}

// The draws of kWidth blocks from `block`: 4·kWidth words in the order of their index.
void draw(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t block, uint32_t* words) {
  UVec w0, w1, w2 = UVec{} + step, w3 = UVec{} + purpose;
  for (int lane = 0; lane < kWidth; ++lane) {
    w0[lane] = static_cast<uint32_t>(block + lane);
    w1[lane] = static_cast<uint32_t>((block + lane) >> 32);
  }
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    UVec high0, low0, high1, low1;
    multiply(w0, kPhiloxMultiplier0, high0, low0);
    multiply(w2, kPhiloxMultiplier1, high1, low1);
    w0 = high1 ^ w1 ^ key0;
    w1 = low1;
    w2 = high0 ^ w3 ^ key1;
    w3 = low0;
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  for (int half = 0; half < 2; ++half) {
    const UVec even = interleave(w0, w2, half * kWidth / 2), odd = interleave(w1, w3, half * kWidth / 2);
    for (int part = 0; part < 2; ++part) {
      const UVec mixed = interleave(even, odd, part * kWidth / 2);
      std::memcpy(words + (2 * half + part) * kWidth, &mixed, sizeof(mixed));
    }
  }
}

struct Mask {
  uint64_t seed, offset;
  uint32_t purpose, step, threshold;  // kept where (word >> 8) ≥ threshold
  Vec scale;

  Vec keep(Vec x, UVec words) const {
    const UVec kept = reinterpret_cast<UVec>((words >> 8) >= threshold);
    return reinterpret_cast<Vec>(reinterpret_cast<UVec>(x * scale) & kept);
  }

  // The elements with index from, from + 1, …
  template <class T>
  void apply(const T* x, T* y, int64_t count, uint64_t from) const {
    constexpr int64_t kWords = 4 * kWidth;
    uint32_t words[kWords + kWidth] = {};
    for (int64_t i = 0; i < count;) {
      const uint64_t index = offset + from + i, skip = index % 4;
      draw(seed, purpose, step, index / 4, words);
      const int64_t stop = i + kWords - static_cast<int64_t>(skip) < count ? i + kWords - static_cast<int64_t>(skip) : count;
      const uint32_t* next = words + skip;
      for (; i + kWidth <= stop; i += kWidth, next += kWidth)
        store(y + i, keep(load(x + i), *reinterpret_cast<const UVec*>(next)));
      if (i < stop) storeTail(y + i, keep(loadTail(x + i, stop - i), *reinterpret_cast<const UVec*>(next)), stop - i);
      i = stop;
    }
  }
};
}  // namespace

void dropout(const Call& call) {
  const Tensor &x = call[0], &y = call[1];
  const bool flat = allContiguous(call, {0, 1});
  const double p = call.attribute(0);
  const Mask mask{static_cast<uint64_t>(call.attribute(1)),     static_cast<uint64_t>(call.attribute(4)),
                  static_cast<uint32_t>(call.attribute(2)),     static_cast<uint32_t>(call.attribute(3)),
                  static_cast<uint32_t>(std::ceil(p * 0x1p24)), splat(static_cast<float>(1 / (1 - p)))};
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, x, flat, [&](int64_t row, int64_t start, int64_t count) {
      mask.apply(x.row<T>(row) + start, y.row<T>(row) + start, count, static_cast<uint64_t>(row * x.cols() + start));
    });
  });
}

}  // namespace cd::cpu
