#include <cmath>

#include "../common/cuda_spans.h"
#include "../common/dispatch.h"

namespace cd::cuda {

namespace {
template <class T>
struct Dropout {
  Rows<T> x, y;
  int64_t columns;
  uint64_t seed, offset;
  uint32_t purpose, step, threshold;  // kept where (word >> 8) ≥ threshold
  float scale;

  __device__ void operator()(int64_t row, int64_t start, int count) const {
    float values[kSpan];
    x.load(values, row, start, count);
    // A span touches two blocks of four draws, or three when it does not begin with one.
    const uint64_t index = offset + static_cast<uint64_t>(row * columns + start);
    const int skip = static_cast<int>(index % 4);
    uint32_t words[12] = {};
#pragma unroll
    for (int block = 0; block < 3; ++block) {
      if (block == 2 && skip == 0) break;
      const Philox draws = philox(seed, purpose, step, index / 4 + static_cast<uint64_t>(block));
#pragma unroll
      for (int word = 0; word < 4; ++word) words[4 * block + word] = draws.word[word];
    }
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      // Constant places, so that the words stay in registers.
      const uint32_t word = skip == 0 ? words[i] : skip == 1 ? words[i + 1] : skip == 2 ? words[i + 2] : words[i + 3];
      values[i] = (word >> 8) >= threshold ? values[i] * scale : 0.0f;
    }
    y.store(values, row, start, count);
  }
};
}  // namespace

void dropout(const Call& call) {
  const double p = call.attribute(0);
  withFloat(call[0].dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto columns = static_cast<int64_t>(call.attribute(5));
    forSpans(call, call[0], allContiguous(call, {0, 1}) && columns == call[0].cols(),
             Dropout<T>{Rows<T>(call[0]), Rows<T>(call[1]), columns, static_cast<uint64_t>(call.attribute(1)),
                        static_cast<uint64_t>(call.attribute(4)), static_cast<uint32_t>(call.attribute(2)),
                        static_cast<uint32_t>(call.attribute(3)), static_cast<uint32_t>(std::ceil(p * 0x1p24)),
                        static_cast<float>(1 / (1 - p))});
  });
}

}  // namespace cd::cuda
