// The inner routine of every forward attention: some query rows of some key/value heads against keys in tiles of kKeyTile from
// the document's start, with an online softmax (Milakov and Gimelshein 2018; Dao et al. 2022). Rows share packed tiles but no
// arithmetic, and masked keys take part in none, so how many rows come together changes no bit.
#pragma once

#include <limits>
#include <utility>

#include "../common/fp8.h"
#include "../common/gemm.h"

namespace cd::attention {
using namespace units;

constexpr int kKeyTile = 64;
constexpr int kRows = 96;  // query rows of one key/value head in one task, at most (or one query's heads, if those are more)

inline int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

struct Shape {
  int64_t groups;  // key/value heads
  int64_t heads;   // query heads of each
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

// Of queries of type T, and keys and values of type C: the same, or fp8, which is widened to it tile by tile.
template <class T, class C = T>
struct Workspace {
  using U = Unit<T>;
  using P = std::conditional_t<std::is_same_v<U, Pair>, BFloat16, float>;  // how probabilities are multiplied
  static constexpr bool kWidens = !std::is_same_v<T, C>;
  static constexpr int64_t kTileUnits = kKeyTile / kPerUnit<U>;
  float* output;   // [rows, columns]
  float* scores;   // [kTileRows, kKeyTile]
  float* maximum;  // [rows]
  float* sum;      // [rows]
  U* queries;      // [rows, units]
  P* weights;      // [kTileRows, kKeyTile]
  U* keys;         // kKeyTile/kPanel panels of [units, kPanel]
  U* values;       // columns/kPanel panels of [kTileUnits, kPanel]
  T* wide;         // [2, kKeyTile, D]: a head's keys and values, where they are widened
  int64_t units, columns;

  static int64_t floats(int64_t rows, int64_t D) {
    const int64_t units = roundUp(unitCount<U>(D), 16), columns = roundUp(D, kPanel);
    return roundUp(rows, 16) * (columns + 2 + units) + 2 * kTileRows * kKeyTile + kKeyTile * units + columns * kTileUnits +
           (kWidens ? 2 * kKeyTile * D : 0);
  }
  Workspace(float* memory, int64_t rows, int64_t D) : units(roundUp(unitCount<U>(D), 16)), columns(roundUp(D, kPanel)) {
    rows = roundUp(rows, 16);
    const auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
    output = take(rows * columns);
    scores = take(kTileRows * kKeyTile);
    maximum = take(rows);
    sum = take(rows);
    queries = reinterpret_cast<U*>(take(rows * units));
    weights = reinterpret_cast<P*>(take(kTileRows * kKeyTile));
    keys = reinterpret_cast<U*>(take(kKeyTile * units));
    values = reinterpret_cast<U*>(take(columns * kTileUnits));
    wide = reinterpret_cast<T*>(memory);
  }
};

// Reduces the rows of a block, at most kWidth of them, each by one tree over its lanes → lane i for row i.
template <class Join>
inline Vec reduceRows(UVec (&rows)[kWidth], Join&& join) {
  transposeBlock(rows);
  Vec tree[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) tree[i] = reinterpret_cast<Vec>(rows[i]);
#pragma GCC unroll 4
  for (int half = kWidth / 2; half > 0; half /= 2)
#pragma GCC unroll 16
    for (int i = 0; i < half; ++i) tree[i] = join(tree[i], tree[i + half]);
  return tree[0];
}

// Scores of up to kTileRows rows' tile → weights exp(score − maximum), the rows' running maxima and sums, outputs rescaled.
template <class P>
inline void softmaxRows(int64_t rows, float* scores, const Range* ranges, float scale, P* weights, float* maximum, float* sum,
                        float* output, int64_t columns) {
  static_assert(kTileRows <= kWidth);
  constexpr int kTileVectors = kKeyTile / kWidth;
  constexpr float kNone = -std::numeric_limits<float>::infinity(), kSmallest = -87.0f;
  UVec block[kWidth] = {};
  IVec lane;
  for (int i = 0; i < kWidth; ++i) lane[i] = i;
  for (int64_t row = 0; row < rows; ++row) {
    float* line = scores + row * kKeyTile;
    const bool whole = ranges[row].begin == 0 && ranges[row].end == kKeyTile;
    const int32_t begin = static_cast<int32_t>(ranges[row].begin), end = static_cast<int32_t>(ranges[row].end);
    Vec largest = splat(kNone);
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) {
      Vec score = load(line + v * kWidth) * scale;
      if (!whole) score = (lane + v * kWidth >= begin) & (lane + v * kWidth < end) ? score : splat(kNone);
      store(line + v * kWidth, score);
      largest = simd::maximum(score, largest);
    }
    block[row] = reinterpret_cast<UVec>(largest);
  }
  float before[kWidth] = {}, next[kWidth], shrink[kWidth], total[kWidth];
  for (int64_t row = 0; row < rows; ++row) before[row] = maximum[row];
  const Vec largest = reduceRows(block, [](Vec a, Vec b) { return simd::maximum(a, b); });
  store(next, simd::maximum(largest, load(before)));
  store(shrink, simd::exp(load(before) - load(next)));
  for (int64_t row = 0; row < rows; ++row) {
    const float* line = scores + row * kKeyTile;
    Vec added{};
#pragma GCC unroll 16
    for (int v = 0; v < kTileVectors; ++v) {
      // Hidden keys stand at −inf. What would be subnormal becomes 0, as it costs far more than it is worth.
      const Vec below = load(line + v * kWidth) - next[row];
      const Vec weight = below < kSmallest ? Vec{} : simd::exp(simd::maximum(splat(kSmallest), below));
      added += weight;
      storeFactors(weights + row * kKeyTile + v * kWidth, weight);
    }
    block[row] = reinterpret_cast<UVec>(added);
  }
  store(total, reduceRows(block, [](Vec a, Vec b) { return a + b; }));
  for (int64_t row = 0; row < rows; ++row) {
    sum[row] = sum[row] * shrink[row] + total[row];
    maximum[row] = next[row];
    if (shrink[row] == 1.0f) continue;
    for (int64_t i = 0; i < columns; i += kWidth)
      store(output + row * columns + i, load(output + row * columns + i) * shrink[row]);
  }
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

// outputs += weights · values, each row over the keys of its range, in their order. Those that all rows see are multiplied
// together.
template <class U, class P>
inline void addValues(int64_t rows, const Range* ranges, const P* weights, const U* values, float* output, int64_t columns,
                      int64_t tileUnits) {
  Range shared{0, kKeyTile};
  for (int64_t row = 0; row < rows; ++row)
    shared = {std::max(shared.begin, ranges[row].begin), std::min(shared.end, ranges[row].end)};
  shared = {roundUp(shared.begin, kPerUnit<U>), shared.end / kPerUnit<U> * kPerUnit<U>};
  if (shared.end < shared.begin) shared = {kKeyTile, kKeyTile};
  for (int64_t row = 0; row < rows; ++row)
    addKeys<U>(weights + row * kKeyTile, values, ranges[row].begin, std::min(ranges[row].end, shared.begin),
               output + row * columns, columns, tileUnits);
  for (int64_t column = 0; column < columns && shared.begin < shared.end; column += kPanel)
    multiplyRows<U, true>(rows, weights + shared.begin, kKeyTile * sizeof(P),
                          values + column * tileUnits + shared.begin / kPerUnit<U> * kPanel,
                          (shared.end - shared.begin) / kPerUnit<U>, output + column, columns);
  for (int64_t row = 0; row < rows; ++row)
    addKeys<U>(weights + row * kKeyTile, values, std::max(ranges[row].begin, shared.end), ranges[row].end, output + row * columns,
               columns, tileUnits);
}

// output rows += weights · values over keys [from, to) of the tile, for a panel of columns: a single query's heads, whose values
// are read where they lie (place(key) → the panel's first), as they are used once.
template <class U, int Rows, class P, class Place, class Next>
[[gnu::noinline]] void addInPlace(const P* weights, int64_t from, int64_t to, Place&& place, float* output, int64_t columns,
                                  Next& next) {
  constexpr int kStep = kPerUnit<U>;
  using T = std::remove_cvref_t<decltype(*place(0))>;
  static constexpr T kNothing[kPanel] = {};  // stands in for the half of a pair that is hidden
  Vec sums[Rows][kVectors];
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[row][v] = load(output + row * columns + v * kWidth);
  for (int64_t key = from / kStep * kStep; key < to; key += kStep) {
    if (key % (4 * kStep) == 0) next.fetch();
    UVec right[kVectors];
    loadPanelRow<U>(key >= from ? place(key) : kNothing, key + kStep <= to ? place(key + kStep - 1) : kNothing, right);
#pragma GCC unroll 16
    for (int row = 0; row < Rows; ++row) {
      const UVec left = broadcast(weights + row * kKeyTile + key);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[row][v] = multiplyAdd<U>(left, right[v], sums[row][v]);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(output + row * columns + v * kWidth, sums[row][v]);
}
template <class U, int Rows = kTileRows, class P, class Place, class Next>
inline void addRowsInPlace(int64_t rows, const P* weights, const Range& range, Place&& place, float* output, int64_t columns,
                           Next& next) {
  if constexpr (Rows > 1)
    if (rows < Rows) return addRowsInPlace<U, Rows - 1>(rows, weights, range, place, output, columns, next);
  addInPlace<U, Rows>(weights, range.begin, range.end, place, output, columns, next);
}

// Rows of numbers that are the same in both types.
template <class C, class T>
inline void widenRows(const C* const* rows, int64_t offset, int64_t count, int64_t D, T* target) {
  for (int64_t i = 0; i < count; ++i, target += D) {
    const C* source = rows[i] + offset;
    int64_t j = 0;
    for (; j + kWidth <= D; j += kWidth) store(target + j, load(source + j));
    for (; j < D; ++j) target[j] = fromFloat<T>(toFloat(source[j]));
  }
}

// Where a tile's keys and values lie: the first head's; the others follow.
template <class C>
struct Places {
  const C *keys[kKeyTile], *values[kKeyTile];
  int64_t count = 0;
  int64_t asked = 0, line = 0, lines = 0, quota = 0;  // rows asked for, lines of the next one, of each, and at a time

  template <class Locate>
  void find(int64_t start, int64_t last, const Tensor& key, const Tensor& value, int64_t calls, int64_t groups, Locate&& locate) {
    int64_t rows[kKeyTile];
    count = std::clamp<int64_t>(last - start, 0, kKeyTile);
    asked = line = 0;
    if (count <= 0) return;
    locate(start, count, rows);
    for (int64_t i = 0; i < count; ++i) {
      keys[i] = key.row<C>(rows[i]);
      values[i] = value.row<C>(rows[i]);
    }
    lines = (groups * key.rowStride * static_cast<int64_t>(sizeof(C)) + 63) / 64;
    quota = (2 * count * lines + calls - 1) / calls;
  }
  // Asks for some more of the keys and values, of all heads: a paged cache lies in pieces that no prefetch unit foresees. A
  // few lines at a time, in step with the work, as a processor waits for few at once.
  void fetch() {
    for (int64_t i = 0; i < quota && asked < 2 * count; ++i) {
      prefetch((asked % 2 ? values : keys)[asked / 2] + line * (64 / static_cast<int64_t>(sizeof(C))));
      if (++line < lines) continue;
      line = 0;
      ++asked;
    }
  }
};

// groups × queries × heads rows; query i stands at position first + i and sees keys up to itself.
// queryRow(query, head) → q's D elements; locate(position, count, rows) → the first head's rows of `key` and `value` for the
// count positions from there, the other heads' follow; sinks: the heads' or null; emit(query, head, output, lse) takes each
// finished row. Heads are counted from the task's first.
template <class T, class C, class QueryRow, class Locate, class Emit>
void attend(const Shape& shape, int64_t queries, int64_t first, QueryRow&& queryRow, const Tensor& key, const Tensor& value,
            Locate&& locate, const float* sinks, const Workspace<T, C>& work, Emit&& emit) {
  using U = Unit<T>;
  using P = typename Workspace<T, C>::P;
  constexpr bool kWidens = Workspace<T, C>::kWidens;
  const int64_t heads = shape.heads, groupRows = queries * heads, rows = shape.groups * groupRows;
  const int64_t columns = work.columns, last = first + queries;
  const int64_t units = unitCount<U>(shape.D), queryBytes = work.units * 4;
  const auto queryOf = [&](int64_t row) { return row % groupRows / heads; };
  const auto headOf = [&](int64_t row) { return row / groupRows * heads + row % heads; };
  for (int64_t row = 0; row < rows; ++row) {
    copyRows<U>(queryRow(queryOf(row), headOf(row)), 0, 1, shape.D, work.queries + row * work.units, work.units);
    work.maximum[row] = -std::numeric_limits<float>::infinity();
    work.sum[row] = 0;
  }
  std::memset(work.output, 0, sizeof(float) * rows * columns);

  const bool inPlace = queries == 1 && heads <= kTileRows && shape.D % kPanel == 0;
  // How often the work on a whole tile asks for what comes next.
  const int64_t blocks = kKeyTile / kWidth * roundUp(unitCount<U>(shape.D), kWidth) / kWidth;
  const int64_t calls = shape.groups * (blocks + (inPlace ? kKeyTile / (4 * kPerUnit<U>)*columns / kPanel : 0));
  Places<C> places[2];
  const int64_t begin = shape.firstKey(first) / kKeyTile * kKeyTile;
  places[begin / kKeyTile % 2].find(begin, last, key, value, 1, shape.groups, locate);
  for (int64_t start = begin; start < last; start += kKeyTile) {
    const Places<C>& now = places[start / kKeyTile % 2];
    Places<C>& next = places[(start / kKeyTile + 1) % 2];
    const int64_t count = now.count;
    next.find(start + kKeyTile, last, key, value, calls, shape.groups, locate);
    const auto seen = [&](int64_t row) {
      const int64_t position = first + queryOf(row);
      return Range{std::max<int64_t>(0, shape.firstKey(position) - start), std::min<int64_t>(kKeyTile, position + 1 - start)};
    };
    // A group's rows that see any of the tile lie together.
    int64_t groupFrom = std::max<int64_t>(0, start - first) * heads, groupTo = groupRows;
    if (shape.window != 0) groupTo = std::clamp<int64_t>((start + count - 1 + shape.window - first) * heads, 0, groupRows);

    for (int64_t group = 0; group < shape.groups; ++group) {
      if constexpr (kWidens) {
        widenRows(now.keys, group * key.rowStride, count, shape.D, work.wide);
        widenRows(now.values, group * value.rowStride, count, shape.D, work.wide + kKeyTile * shape.D);
      }
      const auto keyRow = [&](int64_t i) -> const T* {
        if constexpr (kWidens) return work.wide + i * shape.D;
        else return now.keys[i] + group * key.rowStride;
      };
      const auto valueRow = [&](int64_t i) -> const T* {
        if constexpr (kWidens) return work.wide + (kKeyTile + i) * shape.D;
        else return now.values[i] + group * value.rowStride;
      };
      for (int64_t j = 0; j < count; j += kPanel)
        packPanelAlong<U>([&](int64_t i) { return keyRow(j + i); }, std::min<int64_t>(kPanel, count - j), shape.D,
                          work.keys + j * work.units, &next);
      for (int64_t column = 0; column < columns && !inPlace; column += kPanel)
        packPanelAcross<U>([&](int64_t i) { return valueRow(i) + column; }, std::min<int64_t>(kPanel, shape.D - column), count,
                           work.values + column * work.kTileUnits);
      for (int64_t row = group * groupRows + groupFrom; row < group * groupRows + groupTo; row += kTileRows) {
        const int64_t some = std::min<int64_t>(kTileRows, group * groupRows + groupTo - row);
        for (int64_t j = 0; j < count; j += kPanel)
          multiplyRows<U>(some, work.queries + row * work.units, queryBytes, work.keys + j * work.units, units, work.scores + j,
                          kKeyTile);
        Range ranges[kTileRows];
        for (int64_t i = 0; i < some; ++i) ranges[i] = seen(row + i);
        softmaxRows<P>(some, work.scores, ranges, shape.scale, work.weights, work.maximum + row, work.sum + row,
                       work.output + row * columns, columns);
        for (int64_t column = 0; column < columns && inPlace; column += kPanel)
          addRowsInPlace<U>(
              some, work.weights, ranges[0], [&](int64_t i) { return valueRow(i) + column; },
              work.output + row * columns + column, columns, next);
        if (!inPlace)
          addValues<U>(some, ranges, work.weights, work.values, work.output + row * columns, columns, work.kTileUnits);
      }
    }
  }

  for (int64_t row = 0; row < rows; ++row) {
    float* output = work.output + row * columns;
    float maximum = work.maximum[row], sum = work.sum[row];
    if (sinks) {
      const float sink = sinks[headOf(row)], next = sink > maximum ? sink : maximum;
      const float shrink = simd::exp(splat(maximum - next))[0];
      sum = sum * shrink + simd::exp(splat(sink - next))[0];
      for (int64_t i = 0; i < columns; i += kWidth) store(output + i, load(output + i) * shrink);
      maximum = next;
    }
    const float inverse = 1.0f / sum;
    for (int64_t i = 0; i < columns; i += kWidth) store(output + i, load(output + i) * inverse);
    emit(queryOf(row), headOf(row), output, maximum + std::log(sum));
  }
}

}  // namespace cd::attention
