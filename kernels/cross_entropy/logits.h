// Logits of a chunk of counted tokens, vocabulary tile by vocabulary tile, and the two gradients that follow from them.
#pragma once

#include <utility>

#include "../common/gemm.h"
#include "../common/log_sum_exp.h"

namespace cd::cross_entropy {
using namespace units;

constexpr int64_t kChunk = 256;  // tokens whose logits exist at one time
constexpr int64_t kGroup = 4;    // panels of one tile multiplied in one go, so that their sums stay in the cache
constexpr int64_t kTilePanels = kVocabularyTile / kPanel;

template <class T>
struct Chunk {
  using U = Unit<T>;
  // What products of d and of compacted hidden rows are packed from: bf16 where bf16 is multiplied, else f32.
  using S = std::conditional_t<std::is_same_v<U, Pair>, BFloat16, float>;
  static_assert(kVocabularyTile % kBlock<U> == 0 && kChunk <= kBlock<U>);

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
  int64_t* tokens;      // [T]: the counted tokens

  // Takes the call's scratch memory.
  Chunk(const Call& call, int64_t capacity, bool keep, bool gradients)
      : call(call),
        hidden(call[0]),
        weight(call[1]),
        E(hidden.shape[1]),
        V(weight.shape[0]),
        tiles(vocabularyTiles(V)),
        padded(tiles * kVocabularyTile),
        units(unitCount<U>(E)),
        capacity(capacity),
        keep(keep),
        gradients(gradients) {
    const auto aligned = [](int64_t count) { return (count + 15) / 16 * 16; };
    workspace = workspaceSize<U>(capacity, kGroup, E) + (keep ? 0 : capacity * kVocabularyTile);
    if (gradients) {
      const Tasks tasks(capacity, E, call.parallel->workers());
      workspace = std::max({workspace, workspaceSize<U>(tasks.rows, tasks.panels, V),
                            workspaceSize<U>(kVocabularyTile, 1, kChunk) + kVocabularyTile * unitCount<U>(kChunk)});
    }
    workspace = aligned(workspace);
    const int64_t sizes[] = {call.parallel->workers() * workspace,
                             keep ? capacity * padded : 0,
                             capacity * tiles * 2,
                             capacity,
                             capacity,
                             capacity * units,
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
    tokens = reinterpret_cast<int64_t*>(take());
  }

  Left left() const { return {rows, units * 4, kBlock<U> / kPerUnit<U> * 4}; }

  void gather(const int64_t* chunk, int64_t count) {
    call.parallelFor((count + 31) / 32, [&](int64_t task, int) {
      for (int64_t i = task * 32; i < count && i < (task + 1) * 32; ++i)
        copyRows<U>(hidden.row<T>(chunk[i]), 0, 1, E, rows + i * units, units);
    });
  }

  // Logits [rows, columns of the tile] of one tile, `stride` floats from row to row.
  void tileLogits(int64_t count, int64_t tile, float* target, int64_t stride, float* memory) {
    const int64_t lastPanel = std::min((tile + 1) * kTilePanels, panelCount(V));
    const auto pack = [&](int64_t block, int64_t panel, U* to) {
      const int64_t k = block * kBlock<U>, column = panel * kPanel;
      packPanelAlong<U>([&](int64_t j) { return weight.row<T>(column + j) + k; }, std::min<int64_t>(kPanel, V - column),
                        std::min(kBlock<U>, E - k), to, kPanel * weight.rowStride);
    };
    const auto emit = [&](int64_t row, int64_t column, int64_t, const float* values) {
      __builtin_memcpy(target + row * stride + (column - tile * kVocabularyTile), values, sizeof(float) * kPanel);
    };
    for (int64_t panel = tile * kTilePanels; panel < lastPanel; panel += kGroup)
      multiplyPart<U>(left(), {0, count, panel, std::min(panel + kGroup, lastPanel)}, V, E, memory, pack, emit);
  }

  // Every logit of the chunk; with `reduce` also lse and targetLogits.
  void forward(const int64_t* chunk, int64_t count, bool reduce) {
    const int32_t* targets = call[2].as<int32_t>();
    gather(chunk, count);
    call.parallelFor(tiles, [&](int64_t tile, int worker) {
      float* memory = workers + worker * workspace;
      float* const target = keep ? logits + tile * kVocabularyTile : std::exchange(memory, memory + capacity * kVocabularyTile);
      const int64_t stride = keep ? padded : kVocabularyTile, first = tile * kVocabularyTile;
      const int64_t columns = std::min(kVocabularyTile, V - first);
      tileLogits(count, tile, target, stride, memory);
      for (int64_t i = 0; reduce && i < count; ++i) {
        sums[i * tiles + tile] = LogSumExp::tile(target + i * stride, columns);
        const int64_t wanted = targets[chunk[i]] - first;
        if (wanted >= 0 && wanted < columns) targetLogits[i] = target[i * stride + wanted];
      }
    });
    for (int64_t i = 0; reduce && i < count; ++i) {
      LogSumExp total;
      for (int64_t tile = 0; tile < tiles; ++tile) total.add(sums[i * tiles + tile]);
      lse[i] = total.value();
    }
  }

  // d = coefficient · (exp(logit − lse) − 1[target]) of one tile's row, in place; columns past the vocabulary become 0.
  void differentiateRow(float* row, int64_t columns, float logSum, float coefficient, int64_t target) {
    S* d = reinterpret_cast<S*>(row);
    const bool holds = target >= 0 && target < columns;
    const float atTarget = holds ? coefficient * (simd::exp(splat(row[target] - logSum))[0] - 1.0f) : 0.0f;
    for (int64_t i = 0; i < kVocabularyTile; i += kWidth) {
      const Vec value = i < columns ? simd::exp(load(row + i) - logSum) * coefficient : Vec{};
      store(d + i, value);
    }
    for (int64_t i = columns; i < kVocabularyTile; ++i) d[i] = S{};
    if (holds) d[target] = fromFloat<S>(atTarget);
  }

  // Turns the chunk's logits into gradients. coefficientOf(token), lse[i].
  template <class Coefficient>
  void backward(const int64_t* chunk, int64_t count, const Tensor& dHidden, const Tensor& dWeight, Coefficient&& coefficientOf) {
    constexpr int64_t kScale = sizeof(float) / sizeof(S);  // elements of S in the place of one logit
    const int32_t* targets = call[2].as<int32_t>();
    call.parallelFor(tiles, [&](int64_t tile, int worker) {
      const int64_t first = tile * kVocabularyTile, columns = std::min(kVocabularyTile, V - first);
      float* const place = logits + first;
      for (int64_t i = 0; i < count; ++i)
        differentiateRow(place + i * padded, columns, lse[i], coefficientOf(chunk[i]), targets[chunk[i]] - first);
      if (!dWeight.present) return;
      float* memory = workers + worker * workspace;
      U* const transposed = reinterpret_cast<U*>(std::exchange(memory, memory + kVocabularyTile * unitCount<U>(kChunk)));
      const int64_t stride = unitCount<U>(count);
      transposeRows<U>(reinterpret_cast<const S*>(place), padded * kScale, columns, count, transposed, stride);
      const S* const source = reinterpret_cast<const S*>(rows);
      const auto pack = [&](int64_t, int64_t panel, U* to) {
        packPanelAcross<U>([&](int64_t k) { return source + k * units * kPerUnit<U> + panel * kPanel; },
                           std::min<int64_t>(kPanel, E - panel * kPanel), count, to);
      };
      const auto emit = [&](int64_t row, int64_t column, int64_t width, const float* values) {
        float* target = dWeight.row<float>(first + row) + column;
        int64_t i = 0;
        for (; i + kWidth <= width; i += kWidth) store(target + i, load(target + i) + load(values + i));
        for (; i < width; ++i) target[i] += values[i];
      };
      multiplyPart<U>({transposed, stride * 4, 0}, {0, columns, 0, panelCount(E)}, E, count, memory, pack, emit);
    });

    // dHidden = d · weight; block b of the vocabulary lies where its logits lay.
    const Left d{logits, padded * 4, kBlock<U> * static_cast<int64_t>(sizeof(float))};
    const Tasks tasks(count, E, call.parallel->workers());
    call.parallelFor(tasks.count(), [&](int64_t task, int worker) {
      const auto pack = [&](int64_t block, int64_t panel, U* to) {
        const int64_t v = block * kBlock<U>;
        packPanelAcross<U>([&](int64_t k) { return weight.row<T>(v + k) + panel * kPanel; },
                           std::min<int64_t>(kPanel, E - panel * kPanel), std::min(kBlock<U>, V - v), to);
      };
      const auto emit = [&](int64_t row, int64_t column, int64_t width, const float* values) {
        T* target = dHidden.row<T>(chunk[row]) + column;
        int64_t i = 0;
        for (; i + kWidth <= width; i += kWidth) store(target + i, load(values + i));
        for (; i < width; ++i) target[i] = fromFloat<T>(values[i]);
      };
      multiplyPart<U>(d, tasks.part(task, count, E), E, V, workers + worker * workspace, pack, emit);
    });
  }
};

}  // namespace cd::cross_entropy
