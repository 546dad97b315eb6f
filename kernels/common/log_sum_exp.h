// log Σ exp over a vocabulary, in one fixed order: tiles of kVocabularyTile logits from the start of the row, each reduced
// by itself, then combined tile by tile. Whoever sees a whole row and whoever sees it one tile at a time (in any order, on
// any thread, as long as the tiles are combined in order) gets equal bits.
#pragma once

#include <limits>

#include "simd.h"

namespace cd {

constexpr int64_t kVocabularyTile = 512;

inline int64_t vocabularyTiles(int64_t vocabulary) { return (vocabulary + kVocabularyTile - 1) / kVocabularyTile; }

// Σ exp(x) = sum · exp(maximum). A NaN logit makes the sum NaN; a tile of nothing but −inf has maximum −inf and sum 0.
struct LogSumExp {
  float maximum = -std::numeric_limits<float>::infinity();
  float sum = 0;

  // One tile of count ≤ kVocabularyTile logits.
  static LogSumExp tile(const float* logits, int64_t count) {
    using namespace simd;
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const int64_t whole = count - count % kWidth;
    Vec largest = splat(kNone);
    for (int64_t i = 0; i < whole; i += kWidth) largest = simd::maximum(load(logits + i), largest);
    if (whole < count) largest = simd::maximum(loadTail(logits + whole, count - whole, kNone), largest);
    LogSumExp result;
    result.maximum = simd::maximum(largest);
    const Vec origin = splat(finite(result.maximum));
    Vec total{};
    for (int64_t i = 0; i < whole; i += kWidth) total += simd::exp(load(logits + i) - origin);
    if (whole < count) total += simd::exp(loadTail(logits + whole, count - whole, kNone) - origin);
    result.sum = simd::sum(total);
    return result;
  }

  // Joins the next tile, in tile order.
  void add(const LogSumExp& next) {
    using namespace simd;
    const float largest = next.maximum > maximum ? next.maximum : maximum, origin = finite(largest);
    const float here = simd::exp(splat(maximum - origin))[0], there = simd::exp(splat(next.maximum - origin))[0];
    sum = __builtin_fmaf(next.sum, there, sum * here);
    maximum = largest;
  }

  float value() const { return maximum + std::log(sum); }

 private:
  // −inf − (−inf) would be NaN: a tile without a finite logit is measured from 0.
  static float finite(float value) { return value == -std::numeric_limits<float>::infinity() ? 0.0f : value; }
};

// The whole row. NaN if a logit is NaN; −inf if all are −inf.
inline float logSumExp(const float* logits, int64_t vocabulary) {
  LogSumExp total;
  for (int64_t start = 0; start < vocabulary; start += kVocabularyTile)
    total.add(LogSumExp::tile(logits + start, vocabulary - start < kVocabularyTile ? vocabulary - start : kVocabularyTile));
  return total.value();
}

}  // namespace cd
