#include "../common/dispatch.h"
#include "attend.h"
#include "documents.h"

namespace cd::cpu {
using namespace attention;

namespace {
constexpr int kTile = kKeyTile;  // queries and keys of one step

template <class T>
float dot(const T* a, const T* b, int64_t count) {
  Vec total{};
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) total = fma(load(a + i), load(b + i), total);
  if (i < count) total = fma(loadTail(a + i, count - i), loadTail(b + i, count - i), total);
  return simd::sum(total);
}

// out [rows, panels of columns] = or += left · right; `right` is packed, its panels `units` long.
template <class U, bool Continue, class A>
void product(int64_t rows, const A* left, int64_t leftStride, const U* right, int64_t panelUnits, int64_t units, int64_t columns,
             float* out, int64_t outStride) {
  for (int64_t column = 0; column < columns; column += kPanel, right += panelUnits * kPanel)
    for (int64_t row = 0; row < rows; row += kTileRows)
      multiplyRows<U, Continue>(std::min<int64_t>(kTileRows, rows - row), left + row * leftStride, leftStride * sizeof(A), right,
                                units, out + row * outStride + column, outStride);
}

// One query head of one document: every step joins 64 keys and 64 queries.
template <class T>
struct HeadBackward {
  using U = Unit<T>;
  using S = std::conditional_t<std::is_same_v<U, Pair>, BFloat16, float>;
  static constexpr int64_t kTileUnits = kTile / kPerUnit<U>;

  int64_t D, units, columns;
  float scale;
  int64_t window;
  float *dq, *delta;                // [length, columns], [length]
  float *dk, *dv;                   // [kTile, columns]
  float *scores, *upstream;         // [kTile keys, kTile queries]
  S *p, *ds;                        // [kTile keys, kTile queries]
  U* dsTransposed;                  // [kTile queries, kTileUnits]
  U *k, *v;                         // [kTile, units]
  U *qAlong, *doAlong;              // panels of queries, [units, kPanel]
  U *qAcross, *doAcross, *kAcross;  // panels of columns, [kTileUnits, kPanel]

  static int64_t floats(int64_t length, int64_t D) {
    const int64_t units = roundUp(unitCount<U>(D), 16), columns = roundUp(D, kPanel);
    return length * columns + roundUp(length, 16) + 2 * kTile * columns + 4 * kTile * kTile + kTile * kTileUnits +
           4 * kTile * units + 3 * columns * kTileUnits;
  }
  HeadBackward(float* memory, int64_t length, int64_t D, float scale, int64_t window)
      : D(D), units(roundUp(unitCount<U>(D), 16)), columns(roundUp(D, kPanel)), scale(scale), window(window) {
    const auto take = [&](int64_t count) { return std::exchange(memory, memory + count); };
    const auto takeUnits = [&](int64_t count) { return reinterpret_cast<U*>(take(count)); };
    dq = take(length * columns);
    delta = take(roundUp(length, 16));
    dk = take(kTile * columns);
    dv = take(kTile * columns);
    scores = take(kTile * kTile);
    upstream = take(kTile * kTile);
    p = reinterpret_cast<S*>(take(kTile * kTile));
    ds = reinterpret_cast<S*>(take(kTile * kTile));
    dsTransposed = takeUnits(kTile * kTileUnits);
    k = takeUnits(kTile * units);
    v = takeUnits(kTile * units);
    qAlong = takeUnits(kTile * units);
    doAlong = takeUnits(kTile * units);
    qAcross = takeUnits(columns * kTileUnits);
    doAcross = takeUnits(columns * kTileUnits);
    kAcross = takeUnits(columns * kTileUnits);
  }

  template <class Row>
  void packAlong(Row&& row, int64_t count, U* target) const {
    for (int64_t i = 0; i < kTile; i += kPanel)
      if (i < count)
        packPanelAlong<U>([&](int64_t j) { return row(i + j); }, std::min<int64_t>(kPanel, count - i), D, target + i * units);
  }
  template <class Row>
  void packAcross(Row&& row, int64_t count, U* target) const {
    for (int64_t column = 0; column < columns; column += kPanel)
      packPanelAcross<U>([&](int64_t j) { return row(j) + column; }, std::min<int64_t>(kPanel, D - column), count,
                         target + column * kTileUnits);
  }

  // scores and upstream (do·vᵀ) of keys × queries → p and ds; what the mask hides becomes 0.
  void differentiate(int64_t firstKey, int64_t keys, int64_t firstQuery, int64_t queries, const float* lse) const {
    IVec lane;
    for (int i = 0; i < kWidth; ++i) lane[i] = i;
    alignas(64) float logSum[kTile] = {}, correction[kTile] = {};
    std::memcpy(logSum, lse, sizeof(float) * queries);
    std::memcpy(correction, delta + firstQuery, sizeof(float) * queries);
    for (int64_t key = 0; key < keys; ++key) {
      const int64_t from = firstKey + key - firstQuery;  // the first query that sees the key
      const int64_t to = window == 0 ? queries : std::min(queries, from + window);
      const int32_t begin = static_cast<int32_t>(std::clamp<int64_t>(from, 0, kTile)),
                    end = static_cast<int32_t>(std::clamp<int64_t>(to, 0, kTile));
#pragma GCC unroll 4
      for (int i = 0; i < kTile; i += kWidth) {
        const IVec query = lane + i;
        const IVec seen = (query >= begin) & (query < end);
        const float *score = scores + key * kTile + i, *gradient = upstream + key * kTile + i;
        const Vec probability = seen ? simd::exp(fma(load(score), splat(scale), -load(logSum + i))) : Vec{};
        storeFactors(p + key * kTile + i, probability);
        storeFactors(ds + key * kTile + i, seen ? probability * (load(gradient) - load(correction + i)) * scale : Vec{});
      }
    }
  }

  // qRow(i), … → rows of the document; lse: [length]; emit(key, dk row, dv row) takes each key's finished gradients, in order.
  template <class Row, class KeyRow, class ValueRow, class GradientRow, class Emit>
  void run(int64_t length, Row&& qRow, KeyRow&& kRow, ValueRow&& vRow, GradientRow&& doRow, const float* lse, Emit&& emit) const {
    std::memset(dq, 0, sizeof(float) * length * columns);
    for (int64_t key = 0; key < length; key += kTile) {
      const int64_t keys = std::min<int64_t>(kTile, length - key);
      for (int64_t i = 0; i < keys; ++i) {
        copyRows<U>(kRow(key + i), 0, 1, D, k + i * units, units);
        copyRows<U>(vRow(key + i), 0, 1, D, v + i * units, units);
      }
      packAcross([&](int64_t i) { return kRow(key + i); }, keys, kAcross);
      std::memset(dk, 0, sizeof(float) * kTile * columns);
      std::memset(dv, 0, sizeof(float) * kTile * columns);
      const int64_t lastQuery = window == 0 ? length : std::min(length, key + keys - 1 + window);
      for (int64_t query = key; query < lastQuery; query += kTile) {
        const int64_t queries = std::min<int64_t>(kTile, length - query), depth = unitCount<U>(D);
        packAlong([&](int64_t i) { return qRow(query + i); }, queries, qAlong);
        packAlong([&](int64_t i) { return doRow(query + i); }, queries, doAlong);
        packAcross([&](int64_t i) { return qRow(query + i); }, queries, qAcross);
        packAcross([&](int64_t i) { return doRow(query + i); }, queries, doAcross);
        product<U, false>(keys, k, units, qAlong, units, depth, queries, scores, kTile);
        product<U, false>(keys, v, units, doAlong, units, depth, queries, upstream, kTile);
        differentiate(key, keys, query, queries, lse + query);
        const int64_t queryUnits = unitCount<U>(queries), keyUnits = unitCount<U>(keys);
        product<U, true>(keys, p, kTile, doAcross, kTileUnits, queryUnits, columns, dv, columns);
        product<U, true>(keys, ds, kTile, qAcross, kTileUnits, queryUnits, columns, dk, columns);
        transposeRows<U>(ds, kTile, queries, keys, dsTransposed, kTileUnits);
        product<U, true>(queries, dsTransposed, kTileUnits, kAcross, kTileUnits, keyUnits, columns, dq + query * columns,
                         columns);
      }
      for (int64_t i = 0; i < keys; ++i) emit(key + i, dk + i * columns, dv + i * columns);
    }
  }
};

template <class T>
void writeRow(T* target, const float* row, int64_t D) {
  int64_t i = 0;
  for (; i + kWidth <= D; i += kWidth) store(target + i, load(row + i));
  for (; i < D; ++i) target[i] = fromFloat<T>(row[i]);
}

template <class T>
void backward(const Call& call) {
  const Tensor &q = call[0], &k = call[1], &v = call[2], &cuSeqlens = call[3], &o = call[4], &lse = call[5], &dOut = call[6];
  const Tensor &dq = call[7], &dk = call[8], &dv = call[9];
  const int64_t tokens = q.shape[0], H = q.shape[1], G = k.shape[1], D = q.shape[2], documents = cuSeqlens.shape[0] - 1;
  const float scale = static_cast<float>(call.attribute(0));
  const int64_t window = static_cast<int64_t>(call.attribute(1));
  if (H == 0 || D == 0 || tokens == 0) return;
  const int64_t heads = H / G, columns = roundUp(D, kPanel), workers = call.parallel->workers();
  const int32_t* bounds = cuSeqlens.as<int32_t>();
  int64_t longest = 0;
  for (int64_t b = 0; b < documents; ++b) longest = std::max<int64_t>(longest, bounds[b + 1] - bounds[b]);

  // dk and dv of every query head, added up over a group's heads afterwards; log-sums head by head; the longest documents first.
  const int64_t floats = roundUp(HeadBackward<T>::floats(longest, D) + longest, 16), partial = tokens * H * columns;
  float* const memory = call.scratch<float>(workers * floats + 2 * partial + 2 * documents);
  float *const dkHeads = memory + workers * floats, *const dvHeads = dkHeads + partial;
  int64_t* const order = reinterpret_cast<int64_t*>(dvHeads + partial);
  for (int64_t b = 0; b < documents; ++b) order[b] = b;
  std::sort(order, order + documents, [&](int64_t a, int64_t b) {
    const int64_t lengthA = bounds[a + 1] - bounds[a], lengthB = bounds[b + 1] - bounds[b];
    return lengthA != lengthB ? lengthA > lengthB : a < b;
  });

  call.parallelFor(documents * H, [&](int64_t task, int worker) {
    const int64_t b = order[task / H], h = task % H, g = h / heads, start = bounds[b], length = bounds[b + 1] - start;
    const HeadBackward<T> head(memory + worker * floats, longest, D, scale, window);
    float* const logSums = memory + (worker + 1) * floats - longest;
    const auto queryRow = [&](const Tensor& tensor) {
      return [&tensor, start, H, h](int64_t i) { return tensor.row<T>((start + i) * H + h); };
    };
    const auto keyRow = [&](const Tensor& tensor) {
      return [&tensor, start, G, g](int64_t i) { return tensor.row<T>((start + i) * G + g); };
    };
    for (int64_t i = 0; i < length; ++i) {
      head.delta[i] = dot(queryRow(dOut)(i), queryRow(o)(i), D);
      logSums[i] = lse.as<float>()[(start + i) * H + h];
    }
    head.run(length, queryRow(q), keyRow(k), keyRow(v), queryRow(dOut), logSums,
             [&](int64_t key, const float* dkRow, const float* dvRow) {
               const int64_t row = (start + key) * H + h;
               std::memcpy(dkHeads + row * columns, dkRow, sizeof(float) * columns);
               std::memcpy(dvHeads + row * columns, dvRow, sizeof(float) * columns);
             });
    for (int64_t i = 0; i < length; ++i) writeRow(dq.row<T>((start + i) * H + h), head.dq + i * columns, D);
  });

  constexpr int64_t kTokens = 64;
  const auto addHeads = [&](float* sums, T* target) {
    for (int64_t h = 1; h < heads; ++h)
      for (int64_t i = 0; i < columns; i += kWidth) store(sums + i, load(sums + i) + load(sums + h * columns + i));
    writeRow(target, sums, D);
  };
  call.parallelFor((tokens + kTokens - 1) / kTokens, [&](int64_t task, int) {
    for (int64_t row = task * kTokens * G; row < std::min(tokens, (task + 1) * kTokens) * G; ++row) {
      addHeads(dkHeads + row * heads * columns, dk.row<T>(row));
      addHeads(dvHeads + row * heads * columns, dv.row<T>(row));
    }
  });
}
}  // namespace

void attention_backward(const Call& call) {
  checkDocuments(call, 3, call[0].shape[0]);
  withFloat(call[0].dtype, [&](auto zero) { backward<decltype(zero)>(call); });
}

}  // namespace cd::cpu
