#include "../common/elementwise.h"
#include "../rotary/rotate.h"
#include "attend.h"
#include "cache.h"
#include "documents.h"

namespace cd::cpu {
using namespace attention;

namespace {
template <class T>
void writeRow(T* target, const float* output, int64_t D) {
  int64_t i = 0;
  for (; i + kWidth <= D; i += kWidth) store(target + i, load(output + i));
  for (; i < D; ++i) target[i] = fromFloat<T>(output[i]);
}

// Cuts every document into query tiles and calls body(shape, work, document, first query in it, queries, first key/value head).
template <class T, class C, class Body>
void forEachTile(const Call& call, const Tensor& cuSeqlens, int64_t groups, Body&& body) {
  const Tensor& q = call[0];
  const int64_t documents = cuSeqlens.shape[0] - 1, workers = call.parallel->workers();
  if (q.elements() == 0 || groups == 0) return;
  Shape shape{groups, q.shape[1] / groups, q.shape[2], static_cast<float>(call.attribute(0)),
              static_cast<int64_t>(call.attribute(1))};
  const int64_t piece = shape.queriesPerTask(), floats = roundUp(Workspace<T, C>::floats(piece * q.shape[1], shape.D), 16);
  const int32_t* bounds = cuSeqlens.as<int32_t>();
  float* const memory = call.scratch<float>(workers * floats + 2 * (documents + 1));
  int64_t* const firstPiece = reinterpret_cast<int64_t*>(memory + workers * floats);
  const int64_t pieces = numberPieces(bounds, documents, piece, firstPiece);
  // A cache is read best when one task reads all heads of a token; too few tasks would leave threads without work.
  if (pieces < 4 * workers) shape.groups = 1;
  const int64_t parts = groups / shape.groups;
  // The last pieces see the most keys: they go first, so that the threads finish together.
  call.parallelFor(pieces * parts, [&](int64_t task, int worker) {
    const int64_t index = pieces - 1 - task / parts, b = documentOf(firstPiece, documents, index);
    const int64_t from = (index - firstPiece[b]) * piece, queries = std::min<int64_t>(piece, bounds[b + 1] - bounds[b] - from);
    body(shape, Workspace<T, C>(memory + worker * floats, piece * q.shape[1], shape.D), b, from, queries, task % parts);
  });
}

template <class T>
void packed(const Call& call) {
  const Tensor &q = call[0], &k = call[1], &v = call[2], &cuSeqlens = call[3], &sinks = call[4], &o = call[5], &lse = call[6];
  const int64_t H = q.shape[1], G = k.shape[1];
  const int32_t* bounds = cuSeqlens.as<int32_t>();
  forEachTile<T, T>(
      call, cuSeqlens, G, [&](const Shape& shape, const Workspace<T>& work, int64_t b, int64_t from, int64_t queries, int64_t g) {
        const int64_t start = bounds[b], head = g * shape.heads;
        attend(
            shape, queries, from, [&](int64_t query, int64_t h) { return q.row<T>((start + from + query) * H + head + h); }, k, v,
            [&](int64_t key, int64_t count, int64_t* rows) {
              for (int64_t i = 0; i < count; ++i) rows[i] = (start + key + i) * G + g;
            },
            sinks.present ? sinks.as<float>() + head : nullptr, work,
            [&](int64_t query, int64_t h, const float* output, float logSum) {
              const int64_t row = (start + from + query) * H + head + h;
              writeRow(o.row<T>(row), output, shape.D);
              lse.as<float>()[row] = logSum;
            });
      });
}

void checkPages(const Call& call) {
  const Tensor &cache = call[1], &blockTable = call[3], &cuSeqlens = call[4];
  checkDocuments(call, 4, call[0].shape[0]);
  const int32_t *bounds = cuSeqlens.as<int32_t>(), *lengths = call[5].as<int32_t>();
  const int64_t blockSize = cache.shape[1], window = static_cast<int64_t>(call.attribute(1));
  for (int64_t b = 0; b + 1 < cuSeqlens.shape[0]; ++b) {
    const int64_t queries = bounds[b + 1] - bounds[b], length = lengths[b];
    if (queries == 0) continue;
    const std::string sequence = " in sequence " + std::to_string(b);
    if (length < queries) refuse(call, 5, "cover the " + std::to_string(queries) + " query tokens" + sequence, length);
    const int64_t blocks = (length + blockSize - 1) / blockSize;
    if (blocks > blockTable.shape[1])
      refuse(call, 3, "have " + std::to_string(blocks) + " blocks for " + std::to_string(length) + " tokens" + sequence,
             blockTable.shape[1]);
    const int64_t firstKey = window == 0 ? 0 : std::max<int64_t>(0, length - queries - window + 1);
    for (int64_t i = firstKey / kKeyTile * kKeyTile / blockSize; i < blocks; ++i) {
      const int64_t block = blockTable.row<int32_t>(b)[i];
      if (block < 0 || block >= cache.shape[0])
        refuse(call, 3, "name a block below " + std::to_string(cache.shape[0]) + " at place " + std::to_string(i) + sequence,
               block);
    }
  }
}

template <class T, class C>
void paged(const Call& call) {
  const Tensor &q = call[0], &keys = call[1], &values = call[2], &blockTable = call[3], &cuSeqlens = call[4], &sinks = call[6],
               &o = call[7];
  const int64_t H = q.shape[1], G = keys.shape[2], blockSize = keys.shape[1];
  const int32_t *bounds = cuSeqlens.as<int32_t>(), *lengths = call[5].as<int32_t>();
  forEachTile<T, C>(
      call, cuSeqlens, G,
      [&](const Shape& shape, const Workspace<T, C>& work, int64_t b, int64_t from, int64_t queries, int64_t g) {
        const int64_t start = bounds[b], head = g * shape.heads, first = lengths[b] - (bounds[b + 1] - start) + from;
        const int32_t* blocks = blockTable.row<int32_t>(b);
        const auto locate = [&](int64_t key, int64_t count, int64_t* rows) {
          int64_t block = key / blockSize, slot = key % blockSize;
          for (int64_t i = 0; i < count; ++i) {
            rows[i] = (blocks[block] * blockSize + slot) * G + g;
            if (++slot == blockSize) {
              slot = 0;
              ++block;
            }
          }
        };
        attend(
            shape, queries, first, [&](int64_t query, int64_t h) { return q.row<T>((start + from + query) * H + head + h); },
            keys, values, locate, sinks.present ? sinks.as<float>() + head : nullptr, work,
            [&](int64_t query, int64_t h, const float* output, float) {
              writeRow(o.row<T>((start + from + query) * H + head + h), output, shape.D);
            });
      });
}
}  // namespace

void attention(const Call& call) {
  checkDocuments(call, 3, call[0].shape[0]);
  withFloat(call[0].dtype, [&](auto zero) { packed<decltype(zero)>(call); });
}

void paged_attention(const Call& call) {
  checkPages(call);
  withCache(call[0].dtype, call[1].dtype, [&](auto query, auto cached) { paged<decltype(query), decltype(cached)>(call); });
}

void kv_write(const Call& call) {
  const Tensor &k = call[0], &v = call[1], &slots = call[2], &keyCache = call[3], &valueCache = call[4], &cosSin = call[5],
               &q = call[6];
  const int64_t T = k.shape[0], G = k.shape[1], D = k.shape[2], H = q.present ? q.shape[1] : 0;
  const int64_t all = keyCache.shape[0] * keyCache.shape[1], half = cosSin.present ? cosSin.shape[1] / 2 : 0;
  const int32_t* slot = slots.as<int32_t>();
  for (int64_t t = 0; t < T; ++t)
    if (slot[t] < -1 || slot[t] >= all)
      refuse(call, 2, "be -1 or below " + std::to_string(all) + " (blocks times block size) for token " + std::to_string(t),
             slot[t]);
  const int64_t tokens = 1 + kSpanElements / std::max<int64_t>(1, (H + 2 * G) * D);
  withWritten(k.dtype, keyCache.dtype, [&](auto given, auto cached) {
    using X = decltype(given);
    using C = decltype(cached);
    call.parallelFor((T + tokens - 1) / tokens, [&](int64_t task, int) {
      for (int64_t t = task * tokens; t < T && t < (task + 1) * tokens; ++t) {
        const float *const cosine = half > 0 ? cosSin.row<float>(t) : nullptr, *const sine = half > 0 ? cosine + half : nullptr;
        for (int64_t h = 0; h < H; ++h) {
          X* const row = q.row<X>(t * H + h);
          rotateRow<X, X>(row, cosine, sine, row, half, D, 1);
        }
        for (int64_t g = 0; g < G && slot[t] >= 0; ++g) {
          rotateRow(k.row<X>(t * G + g), cosine, sine, keyCache.row<C>(slot[t] * G + g), half, D, 1);
          rotateRow<X, C>(v.row<X>(t * G + g), nullptr, nullptr, valueCache.row<C>(slot[t] * G + g), 0, D, 1);
        }
      }
    });
  });
}

}  // namespace cd::cpu
