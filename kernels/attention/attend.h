// The inner routine of every forward attention: some query rows of one key/value head against keys in tiles of kKeyTile from
// the document's start, with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022). Rows share packed tiles but no
// arithmetic, and masked keys take part in none, so how many rows come together changes no bit.
#pragma once

#include <limits>
#include <utility>

#include "../common/gemm.h"

namespace cd::attention {
using namespace units;

constexpr int kKeyTile = 64;
constexpr int kRows = 96;  // query rows of one task, at most (or one query's heads, if those are more)

inline int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

struct Shape {
  int64_t heads;  // query heads of one key/value head
  int64_t D;
  float scale;
  int64_t window;  // 0: none
  int64_t queriesPerTask() const { return std::max<int64_t>(1, kRows / std::max<int64_t>(1, heads)); }
  int64_t firstKey(int64_t position) const { return window == 0 || position < window ? 0 : position - window + 1; }
};

// The part of a tile, [begin, end) counted from the tile's start, that a row sees.
struct Range {
  int64_t begin, end;
};

template <class T>
struct Workspace {
  using U = Unit<T>;
  using P = std::conditional_t<std::is_same_v<U, Pair>, BFloat16, float>;  // how probabilities are multiplied
  static constexpr int64_t kTileUnits = kKeyTile / kPerUnit<U>;
  float* output;   // [rows, columns]
  float* scores;   // [rows, kKeyTile]
  float* maximum;  // [rows]
  float* sum;      // [rows]
  U* queries;      // [rows, units]
  P* weights;      // [rows, kKeyTile]
  U* keys;         // kKeyTile/kPanel panels of [units, kPanel]
  U* values;       // columns/kPanel panels of [kTileUnits, kPanel]
  int64_t units, columns;

  static int64_t floats(int64_t rows, int64_t D) {
    const int64_t units = roundUp(unitCount<U>(D), 16), columns = roundUp(D, kPanel);
    return roundUp(rows, 16) * (columns + 2 * kKeyTile + 2 + units) + kKeyTile * units + columns * kTileUnits;
  }
  Workspace(float* memory, int64_t rows, int64_t D) : units(roundUp(unitCount<U>(D), 16)), columns(roundUp(D, kPanel)) {
    rows = roundUp(rows, 16);
    const auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
    output = take(rows * columns);
    scores = take(rows * kKeyTile);
    maximum = take(rows);
    sum = take(rows);
    queries = reinterpret_cast<U*>(take(rows * units));
    weights = reinterpret_cast<P*>(take(rows * kKeyTile));
    keys = reinterpret_cast<U*>(take(kKeyTile * units));
    values = reinterpret_cast<U*>(take(columns * kTileUnits));
  }
};

// Scores of one row's tile → weights exp(score − maximum), the row's running maximum and sum, its output rescaled.
template <class P>
inline void softmaxRow(const float* scores, Range range, float scale, P* weights, float* maximum, float* sum, float* output,
                       int64_t columns) {
  constexpr int kTileVectors = kKeyTile / kWidth;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  Vec score[kTileVectors], largest = splat(kNone);
  IVec lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
#pragma GCC unroll 16
  for (int v = 0; v < kTileVectors; ++v) {
    const IVec key = lane + v * kWidth;
    const IVec seen = (key >= static_cast<int32_t>(range.begin)) & (key < static_cast<int32_t>(range.end));
    score[v] = seen ? load(scores + v * kWidth) * scale : splat(kNone);
    largest = simd::maximum(score[v], largest);
  }
  const float tileMaximum = simd::maximum(largest), next = tileMaximum > *maximum ? tileMaximum : *maximum;
  Vec total{};
#pragma GCC unroll 16
  for (int v = 0; v < kTileVectors; ++v) {
    const Vec weight = simd::exp(score[v] - next);
    total += weight;
    store(weights + v * kWidth, weight);
  }
  if (next != *maximum) {
    const float shrink = simd::exp(splat(*maximum - next))[0];
    *sum *= shrink;
    for (int64_t i = 0; i < columns; i += kWidth) store(output + i, load(output + i) * shrink);
    *maximum = next;
  }
  *sum += simd::sum(total);
}

// output row += weights · values over keys [from, to) of the tile. A pair that is only half in the range leaves the other
// half's value out.
template <class U, class P>
inline void addKeys(const P* weights, const U* values, int64_t from, int64_t to, float* output, int64_t columns,
                    int64_t tileUnits) {
  constexpr int kStep = kPerUnit<U>;
  for (int64_t column = 0; column < columns; column += kPanel, values += tileUnits * kPanel) {
    int64_t key = from;
    const auto half = [&](int64_t unit, uint32_t mask) {
      U masked[kPanel];
      for (int v = 0; v < kVectors; ++v) storeUnits(masked + v * kWidth, loadUnits(values + unit * kPanel + v * kWidth) & mask);
      uint32_t weight;
      __builtin_memcpy(&weight, weights + unit * kStep, 4);
      weight &= mask;
      multiplyRows<U, true>(1, &weight, 0, masked, 1, output + column);
    };
    if (kStep == 2 && key % 2 == 1 && key < to) {
      half(key / 2, 0xffff0000u);
      ++key;
    }
    const int64_t whole = (to - key) / kStep;
    if (whole > 0) multiplyRows<U, true>(1, weights + key, 0, values + key / kStep * kPanel, whole, output + column);
    key += whole * kStep;
    if (kStep == 2 && key < to) half(key / 2, 0x0000ffffu);
  }
}

// queries × heads rows, row = query·heads + head; query i stands at position first + i and sees keys up to itself.
// queryRow(query, head) → q's D elements; keyRow(position), valueRow(position) → k's and v's; sinks: the heads' or null;
// emit(query, head, output, lse) takes each finished row.
template <class T, class QueryRow, class KeyRow, class ValueRow, class Emit>
void attend(const Shape& shape, int64_t queries, int64_t first, QueryRow&& queryRow, KeyRow&& keyRow, ValueRow&& valueRow,
            const float* sinks, const Workspace<T>& work, Emit&& emit) {
  using U = Unit<T>;
  using P = typename Workspace<T>::P;
  const int64_t heads = shape.heads, rows = queries * heads, columns = work.columns, last = first + queries;
  const int64_t units = unitCount<U>(shape.D), queryBytes = work.units * 4;
  for (int64_t row = 0; row < rows; ++row) {
    copyRows<U>(queryRow(row / heads, row % heads), 0, 1, shape.D, work.queries + row * work.units, work.units);
    work.maximum[row] = -std::numeric_limits<float>::infinity();
    work.sum[row] = 0;
  }
  std::memset(work.output, 0, sizeof(float) * rows * columns);

  for (int64_t start = shape.firstKey(first) / kKeyTile * kKeyTile; start < last; start += kKeyTile) {
    const int64_t count = std::min<int64_t>(kKeyTile, last - start);
    const auto seen = [&](int64_t row) {
      const int64_t position = first + row / heads;
      return Range{std::max<int64_t>(0, shape.firstKey(position) - start), std::min<int64_t>(kKeyTile, position + 1 - start)};
    };
    // Rows that see any of the tile lie together.
    int64_t rowFrom = std::max<int64_t>(0, start - first) * heads, rowTo = rows;
    if (shape.window != 0) rowTo = std::clamp<int64_t>((start + count - 1 + shape.window - first) * heads, 0, rows);
    if (rowFrom >= rowTo) continue;

    const T *keyRows[kKeyTile], *valueRows[kKeyTile];
    for (int64_t key = 0; key < count; ++key) {
      keyRows[key] = keyRow(start + key);
      valueRows[key] = valueRow(start + key);
    }
    for (int64_t key = 0; key < count; key += kPanel)
      packPanelAlong<U>([&](int64_t j) { return keyRows[key + j]; }, std::min<int64_t>(kPanel, count - key), shape.D,
                        work.keys + key * work.units);
    for (int64_t column = 0; column < columns; column += kPanel)
      packPanelAcross<U>([&](int64_t j) { return valueRows[j] + column; }, std::min<int64_t>(kPanel, shape.D - column), count,
                         work.values + column * work.kTileUnits);

    for (int64_t row = rowFrom; row < rowTo; row += kTileRows) {
      const int64_t some = std::min<int64_t>(kTileRows, rowTo - row);
      for (int64_t key = 0; key < count; key += kPanel)
        multiplyRows<U>(some, work.queries + row * work.units, queryBytes, work.keys + key * work.units, units,
                        work.scores + row * kKeyTile + key, kKeyTile);
      Range shared{0, kKeyTile};
      for (int64_t i = row; i < row + some; ++i) {
        const Range range = seen(i);
        softmaxRow<P>(work.scores + i * kKeyTile, range, shape.scale, work.weights + i * kKeyTile, work.maximum + i, work.sum + i,
                      work.output + i * columns, columns);
        shared = {std::max(shared.begin, range.begin), std::min(shared.end, range.end)};
      }
      // The keys that all these rows see are multiplied together; each row goes through its keys in order all the same.
      shared = {roundUp(shared.begin, kPerUnit<U>), shared.end / kPerUnit<U> * kPerUnit<U>};
      if (shared.end < shared.begin) shared = {kKeyTile, kKeyTile};
      for (int64_t i = row; i < row + some; ++i) {
        const Range range = seen(i);
        addKeys<U>(work.weights + i * kKeyTile, work.values, range.begin, std::min(range.end, shared.begin),
                   work.output + i * columns, columns, work.kTileUnits);
      }
      for (int64_t column = 0; column < columns && shared.begin < shared.end; column += kPanel)
        multiplyRows<U, true>(some, work.weights + row * kKeyTile + shared.begin, kKeyTile * sizeof(P),
                              work.values + column * work.kTileUnits + shared.begin / kPerUnit<U> * kPanel,
                              (shared.end - shared.begin) / kPerUnit<U>, work.output + row * columns + column, columns);
      for (int64_t i = row; i < row + some; ++i) {
        const Range range = seen(i);
        addKeys<U>(work.weights + i * kKeyTile, work.values, std::max(range.begin, shared.end), range.end,
                   work.output + i * columns, columns, work.kTileUnits);
      }
    }
  }

  for (int64_t row = 0; row < rows; ++row) {
    float* output = work.output + row * columns;
    float maximum = work.maximum[row], sum = work.sum[row];
    if (sinks) {
      const float sink = sinks[row % heads], next = sink > maximum ? sink : maximum;
      const float shrink = simd::exp(splat(maximum - next))[0];
      sum = sum * shrink + simd::exp(splat(sink - next))[0];
      for (int64_t i = 0; i < columns; i += kWidth) store(output + i, load(output + i) * shrink);
      maximum = next;
    }
    const float inverse = 1.0f / sum;
    for (int64_t i = 0; i < columns; i += kWidth) store(output + i, load(output + i) * inverse);
    emit(row / heads, row % heads, output, maximum + std::log(sum));
  }
}

}  // namespace cd::attention
