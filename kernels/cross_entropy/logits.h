// Logits of a chunk of counted tokens, vocabulary tile by vocabulary tile, and the two gradients that follow from them.
#pragma once

#include <utility>

#include "../common/gemm.h"
#include "../common/log_sum_exp.h"

namespace cd::cross_entropy {
using namespace units;

constexpr int64_t kChunk = 256;  // tokens whose logits exist at one time
constexpr int64_t kGroup = 4;    // panels of one tile multiplied in one go, so that their sums stay in the cache
// Rows a multiple of 4 KiB apart would share the same few places of the caches.
constexpr int64_t kSkew = 272;
constexpr int64_t kTileStride = kVocabularyTile + 16;
constexpr int64_t kTilePanels = kVocabularyTile / kPanel;

template <class T>
struct Chunk {
  using U = Unit<T>;
  // What products of d and of compacted hidden rows are packed from: bf16 where bf16 is multiplied, else f32.
  using S = std::conditional_t<std::is_same_v<U, Pair>, BFloat16, float>;
  static_assert(kVocabularyTile <= kBlock<U> && kChunk <= kBlock<U>);

  const Call& call;
  const Tensor &hidden, &weight;
  const int64_t E, V, tiles, padded, units, capacity;
  bool keep, gradients;  // keep: logits of the whole chunk, not only of a worker's tile
  int64_t workspace;     // floats per worker
  float* workers;
  float* logits;        // [capacity, padded]; after differentiate, each tile's row begins with d in the form of S
  LogSumExp* sums;      // [capacity, tiles]
  float* targetLogits;  // [capacity]
  float* lse;           // [capacity]
  U* rows;              // [capacity, units]: hidden rows of the counted tokens
  U* panels;            // the same packed into panels, K along the tokens
  int64_t* tokens;      // [T]: the counted tokens

  // Takes the call's scratch memory.
  Chunk(const Call& call, int64_t capacity, bool keep, bool gradients)
      : call(call),
        hidden(call[0]),
        weight(call[1]),
        E(hidden.shape[1]),
        V(weight.shape[0]),
        tiles(vocabularyTiles(V)),
        padded(tiles * kVocabularyTile + kSkew),
        units(unitCount<U>(E)),
        capacity(capacity),
        keep(keep),
        gradients(gradients) {
    const auto aligned = [](int64_t count) { return (count + 15) / 16 * 16; };
    workspace = workspaceSize<U>(capacity, kGroup, E) + (keep ? 0 : capacity * kTileStride);
    if (gradients) {
      const Tasks tasks(capacity, E, call.parallel->workers());
      workspace = std::max(
          {workspace, workspaceSize<U>(tasks.rows, tasks.panels, V, kVocabularyTile), kVocabularyTile * unitCount<U>(kChunk)});
    }
    workspace = aligned(workspace);
    const int64_t sizes[] = {call.parallel->workers() * workspace,
                             keep ? capacity * padded : 0,
                             capacity * tiles * 2,
                             capacity,
                             capacity,
                             capacity * units,
                             gradients && call[6].present ? panelCount(E) * kPanel * unitCount<U>(capacity) : 0,
                             hidden.shape[0] * 2};
    int64_t total = 0;
    for (int64_t size : sizes) total += aligned(size);
    float* memory = call.scratch<float>(total);
    const int64_t* size = sizes;
    const auto take = [&] {
      float* here = memory;
      memory += aligned(*size++);
      return here;
    };
    workers = take();
    logits = take();
    sums = reinterpret_cast<LogSumExp*>(take());
    targetLogits = take();
    lse = take();
    rows = reinterpret_cast<U*>(take());
    panels = reinterpret_cast<U*>(take());
    tokens = reinterpret_cast<int64_t*>(take());
  }

  void gather(const int64_t* chunk, int64_t count) {
    call.parallelFor((count + 31) / 32, [&](int64_t task, int) {
      for (int64_t i = task * 32; i < count && i < (task + 1) * 32; ++i)
        copyRows<U>(hidden.row<T>(chunk[i]), 0, 1, E, rows + i * units, units);
    });
  }

  // Logits [rows, columns of the tile] of one tile, `stride` floats from row to row.
  void tileLogits(int64_t count, int64_t tile, float* target, int64_t stride, float* memory) {
    const int64_t lastPanel = std::min((tile + 1) * kTilePanels, panelCount(V));
    const auto emit = [&](int64_t row, int64_t column, int64_t, const float* values) {
      __builtin_memcpy(target + row * stride + (column - tile * kVocabularyTile), values, sizeof(float) * kPanel);
    };
    for (int64_t panel = tile * kTilePanels; panel < lastPanel; panel += kGroup)
      multiplyPart<U>(leftRows<U>(rows, units * 4), Right<T>{weight.as<T>(), weight.rowStride, true},
                      {0, count, panel, std::min(panel + kGroup, lastPanel)}, V, E, memory, emit);
  }

  // Every logit of the chunk; with `reduce` also lse and targetLogits.
  void forward(const int64_t* chunk, int64_t count, bool reduce) {
    const int32_t* targets = call[2].as<int32_t>();
    gather(chunk, count);
    call.parallelFor(tiles, [&](int64_t tile, int worker) {
      float* memory = workers + worker * workspace;
      float* const target = keep ? logits + tile * kVocabularyTile : std::exchange(memory, memory + capacity * kTileStride);
      const int64_t stride = keep ? padded : kTileStride, first = tile * kVocabularyTile;
      const int64_t columns = std::min(kVocabularyTile, V - first);
      tileLogits(count, tile, target, stride, memory);
      for (int64_t i = 0; reduce && i < count; ++i) {
        sums[i * tiles + tile] = LogSumExp::tile(target + i * stride, columns);
        const int64_t wanted = targets[chunk[i]] - first;
        if (wanted >= 0 && wanted < columns) targetLogits[i] = target[i * stride + wanted];
      }
    });
    if (!reduce) return;
    constexpr int64_t kRows = 16;
    call.parallelFor((count + kRows - 1) / kRows, [&](int64_t task, int) {
      for (int64_t i = task * kRows; i < std::min(count, (task + 1) * kRows); ++i) {
        LogSumExp total;
        for (int64_t tile = 0; tile < tiles; ++tile) total.add(sums[i * tiles + tile]);
        lse[i] = total.value();
      }
    });
  }

  // d = coefficient · (exp(logit − lse) − 1[target]) of one tile's row, in place; columns past the vocabulary become 0.
  void differentiateRow(float* row, int64_t columns, float logSum, float coefficient, int64_t target) {
    S* d = reinterpret_cast<S*>(row);
    const bool holds = target >= 0 && target < columns;
    const float atTarget = holds ? coefficient * (simd::exp(splat(row[target] - logSum))[0] - 1.0f) : 0.0f;
    for (int64_t i = 0; i < kVocabularyTile; i += kWidth) {
      const Vec value = i < columns ? simd::exp(load(row + i) - logSum) * coefficient : Vec{};
      storeFactors(d + i, value);
    }
    for (int64_t i = columns; i < kVocabularyTile; ++i) d[i] = S{};
    if (holds) d[target] = fromFloat<S>(atTarget);
  }

  // The chunk's hidden rows as panels of columns, for dᵀ · hidden.
  void packTokens(int64_t count) {
    const Right<S> right{reinterpret_cast<const S*>(rows), units * kPerUnit<U>, false};
    const int64_t size = unitCount<U>(count) * kPanel;
    call.parallelFor(panelCount(E),
                     [&](int64_t panel, int) { right.template pack<U>(0, count, panel, E, panels + panel * size, nullptr); });
  }

  // dWeight rows [first, first + columns) += d [columns, depth units] · hidden. Row by row, so that dWeight streams through.
  void addToWeight(const Tensor& dWeight, int64_t first, int64_t columns, const U* d, int64_t depth) {
    const int64_t bytes = dWeight.rowStride * static_cast<int64_t>(sizeof(float)), lines = (E * 4 + 63) / 64;
    for (int64_t row = 0; row < columns; row += kTileRows) {
      const int64_t some = std::min<int64_t>(kTileRows, columns - row), steps = panelCount(E) * (depth / kWidth + 1);
      Ahead ahead{reinterpret_cast<const char*>(dWeight.row<float>(first + row + kTileRows)), bytes, lines, kTileRows * lines,
                  (kTileRows * lines + steps - 1) / steps};
      for (int64_t column = 0; column < E; column += kPanel) {
        alignas(64) float sums[kTileRows * kPanel];
        multiplyRows<U>(some, d + row * depth, depth * 4, panels + column * depth, depth, sums, kPanel, &ahead);
        const int64_t width = std::min<int64_t>(kPanel, E - column);
        for (int64_t i = 0; i < some; ++i) {
          float* target = dWeight.row<float>(first + row + i) + column;
          const float* values = sums + i * kPanel;
          int64_t j = 0;
          for (; j + kWidth <= width; j += kWidth) store(target + j, load(target + j) + load(values + j));
          for (; j < width; ++j) target[j] += values[j];
        }
      }
    }
  }

  // Turns the chunk's logits into gradients. coefficientOf(token), lse[i].
  template <class Coefficient>
  void backward(const int64_t* chunk, int64_t count, const Tensor& dHidden, const Tensor& dWeight, Coefficient&& coefficientOf) {
    constexpr int64_t kScale = sizeof(float) / sizeof(S);  // elements of S in the place of one logit
    const int32_t* targets = call[2].as<int32_t>();
    if (dWeight.present) packTokens(count);
    call.parallelFor(tiles, [&](int64_t tile, int worker) {
      const int64_t first = tile * kVocabularyTile, columns = std::min(kVocabularyTile, V - first);
      float* const place = logits + first;
      for (int64_t i = 0; i < count; ++i)
        differentiateRow(place + i * padded, columns, lse[i], coefficientOf(chunk[i]), targets[chunk[i]] - first);
      if (!dWeight.present) return;
      U* const transposed = reinterpret_cast<U*>(workers + worker * workspace);
      const int64_t depth = unitCount<U>(count);
      transposeRows<U>(reinterpret_cast<const S*>(place), padded * kScale, columns, count, transposed, depth);
      addToWeight(dWeight, first, columns, transposed, depth);
    });

    // dHidden = d · weight; d of a vocabulary tile lies where its logits lay.
    const Left d{logits, padded * 4, kVocabularyTile, kVocabularyTile * static_cast<int64_t>(sizeof(float))};
    const Tasks tasks(count, E, call.parallel->workers());
    call.parallelFor(tasks.count(), [&](int64_t task, int worker) {
      const auto emit = [&](int64_t row, int64_t column, int64_t width, const float* values) {
        T* target = dHidden.row<T>(chunk[row]) + column;
        int64_t i = 0;
        for (; i + kWidth <= width; i += kWidth) store(target + i, load(values + i));
        for (; i < width; ++i) target[i] = fromFloat<T>(values[i]);
      };
      multiplyPart<U>(d, Right<T>{weight.as<T>(), weight.rowStride, false}, tasks.part(task, count, E), E, V,
                      workers + worker * workspace, emit);
    });
  }
};

}  // namespace cd::cross_entropy
