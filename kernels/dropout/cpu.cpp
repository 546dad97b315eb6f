#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/philox_vector.h"

namespace cd::cpu {
using namespace simd;

namespace {
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
  const auto columns = static_cast<int64_t>(call.attribute(5));
  const bool flat = allContiguous(call, {0, 1}) && columns == x.cols();
  const double p = call.attribute(0);
  const Mask mask{static_cast<uint64_t>(call.attribute(1)),     static_cast<uint64_t>(call.attribute(4)),
                  static_cast<uint32_t>(call.attribute(2)),     static_cast<uint32_t>(call.attribute(3)),
                  static_cast<uint32_t>(std::ceil(p * 0x1p24)), splat(static_cast<float>(1 / (1 - p)))};
  withFloat(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    forSpans(call, x, flat, [&](int64_t row, int64_t start, int64_t count) {
      mask.apply(x.row<T>(row) + start, y.row<T>(row) + start, count, static_cast<uint64_t>(row * columns + start));
    });
  });
}

}  // namespace cd::cpu
