#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "rotate.h"

namespace cd::cpu {

namespace {
// A cosine and a sine cost as much as about this many plain elements.
constexpr int64_t kTrigonometryCost = 16;
}  // namespace

void rotary_table(const Call& call) {
  const Tensor &positions = call[0], &inverseFrequencies = call[1], &cosSin = call[2];
  const int64_t T = positions.elements(), half = inverseFrequencies.elements();
  const float factor = static_cast<float>(call.attribute(0));
  if (T == 0 || half == 0) return;
  const int64_t rows = 1 + kSpanElements / kTrigonometryCost / half;
  call.parallelFor((T + rows - 1) / rows, [&](int64_t task, int) {
    for (int64_t t = task * rows; t < T && t < (task + 1) * rows; ++t) {
      const float position = static_cast<float>(positions.as<int32_t>()[t]);
      float* target = cosSin.row<float>(t);
      for (int64_t j = 0; j < half; ++j) {
        const double angle = position * inverseFrequencies.as<float>()[j];
        target[j] = static_cast<float>(std::cos(angle)) * factor;
        target[half + j] = static_cast<float>(std::sin(angle)) * factor;
      }
    }
  });
}

void rotary(const Call& call) {
  const Tensor &x = call[0], &cosSin = call[1], &y = call[2];
  const int64_t T = x.shape[0], H = x.shape[1], D = x.shape[2], half = cosSin.shape[1] / 2;
  const float direction = static_cast<float>(call.attribute(0));
  if (x.elements() == 0) return;
  const int64_t tokens = 1 + kSpanElements / (H * D);
  withFloat(x.dtype, [&](auto zero) {
    using X = decltype(zero);
    call.parallelFor((T + tokens - 1) / tokens, [&](int64_t task, int) {
      for (int64_t t = task * tokens; t < T && t < (task + 1) * tokens; ++t)
        for (int64_t h = 0; h < H; ++h)
          rotateRow(x.row<X>(t * H + h), cosSin.row<float>(t), cosSin.row<float>(t) + half, y.row<X>(t * H + h), half, D,
                    direction);
    });
  });
}

}  // namespace cd::cpu
