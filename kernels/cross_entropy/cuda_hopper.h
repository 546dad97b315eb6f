// The way through the vocabulary on Hopper: logits leave the tensor cores' registers only as what is made of them. Of a tile of
// 128 tokens and 256 words these are
//   the statistics of each row, its greatest logit and Σ exp(logit − greatest);
//   where gradients follow, exp(logit − greatest) in bf16, which its tile's share of the whole turns into d in place, so that
//   logits are computed once;
//   where the log-sum-exp is known already (token_logprobs_backward), d itself.
// Tiles of a row are merged in one order. At its target a row's d comes from the logit in f32.
#pragma once

#include "../common/cuda_hopper_product.h"
#include "cuda_chunk.h"

namespace cd::cuda::vocabulary {

// So many that adding a chunk to dWeight, 8 bytes for an element, takes much less time than its 2 · 4096 operations.
constexpr int64_t kHopperChunk = 4096;

// Tokens `first` … `first + count` in rows 0 … of a chunk. Tiles have rows beyond it.
struct ChunkTokens {
  Tokens tokens;
  int64_t first, count;

  __device__ float coefficient(int64_t row) const { return row < count ? tokens.coefficient(first + row) : 0.0f; }
  // Which word; negative: none.
  __device__ int64_t target(int64_t row) const { return row < count ? tokens.targets[first + row] : -1; }
};

// Words beyond the vocabulary.
__device__ __forceinline__ void maskWords(product::Sums& logits, int64_t words) {
  if (words >= product::kColumns) return;
#pragma unroll
  for (int j = 0; j < product::kColumns / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (fragmentColumn(j, i) >= words) logits[j][i] = -INFINITY;
}

// Whether this thread has the logit of word `wanted` of the tile.
__device__ __forceinline__ bool takeLogit(const product::Sums& logits, int half, int64_t wanted, float& logit) {
  if (wanted < 0 || wanted >= product::kColumns || wanted % 8 / 2 != laneIndex() % 4) return false;
#pragma unroll
  for (int j = 0; j < product::kColumns / 8; ++j)
#pragma unroll
    for (int i = 2 * half; i < 2 * half + 2; ++i)
      if (fragmentColumn(j, i) == wanted) logit = logits[j][i];
  return true;
}

// value(j, i) of half a thread's fragments to a row of bf16 that begins at `row`.
template <class Value>
__device__ __forceinline__ void storeRow(BFloat16* row, int half, Value&& value) {
#pragma unroll
  for (int j = 0; j < product::kColumns / 8; j += 4) {
    uint32_t quad[4];
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const float left = value(j + part, 2 * half), right = value(j + part, 2 * half + 1);
      quad[part] = packBFloat16(left, right);
    }
    product::turnQuad(quad);
    *reinterpret_cast<uint4*>(row + (j + laneIndex() % 4) * 8) = make_uint4(quad[0], quad[1], quad[2], quad[3]);
  }
}

template <bool kKeep>
struct TileStatistics {
  ChunkTokens chunk;
  float2* statistics;  // [rows, tiles]: the greatest logit, Σ exp(logit − greatest)
  float* targets;      // [rows]: logits
  BFloat16* kept;      // [rows, tiles · 256]: exp(logit − greatest)
  int64_t tiles;

  __device__ __forceinline__ void operator()(product::Sums& logits, int64_t firstRow, int64_t column) const {
    maskWords(logits, chunk.tokens.V - column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = firstRow + product::ownRow(half);
      float logit = 0;
      if (takeLogit(logits, half, chunk.target(row) - column, logit)) targets[row] = logit;
      float greatest = -INFINITY;
#pragma unroll
      for (int j = 0; j < product::kColumns / 8; ++j)
        greatest = fmaxf(greatest, fmaxf(logits[j][2 * half], logits[j][2 * half + 1]));
      greatest = rowMax(greatest);
      const float offset = greatest == -INFINITY ? 0.0f : -greatest * kLog2E;
      float sum = 0;
      const auto take = [&](int j, int i) {
        const float value = exp2Fast(fmaf(logits[j][i], kLog2E, offset));
        sum += value;
        return value;
      };
      if constexpr (kKeep) storeRow(kept + row * tiles * product::kColumns + column, half, take);
      else {
#pragma unroll
        for (int j = 0; j < product::kColumns / 8; ++j)
#pragma unroll
          for (int i = 2 * half; i < 2 * half + 2; ++i) take(j, i);
      }
      sum = rowSum(sum);
      if (laneIndex() % 4 == 0) statistics[row * tiles + column / product::kColumns] = make_float2(greatest, sum);
    }
  }
};

// Tiles to d, the log-sum-exp given.
struct TileDerivative {
  ChunkTokens chunk;
  const float* lse;  // [T]
  BFloat16* d;       // [rows, tiles · 256]
  int64_t tiles;

  __device__ __forceinline__ void operator()(product::Sums& logits, int64_t firstRow, int64_t column) const {
    maskWords(logits, chunk.tokens.V - column);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = firstRow + product::ownRow(half), wanted = chunk.target(row) - column;
      const float coefficient = chunk.coefficient(row);
      const bool counts = coefficient != 0;
      const float whole = counts ? lse[chunk.first + row] : 0.0f, offset = -whole * kLog2E;
      BFloat16* const target = d + row * tiles * product::kColumns + column;
      storeRow(target, half, [&](int j, int i) {
        const float value = coefficient * exp2Fast(fmaf(logits[j][i], kLog2E, offset));
        return counts ? value : 0.0f;
      });
      float logit = 0;
      __syncwarp();  // a neighbour has stored what is replaced here
      if (takeLogit(logits, half, wanted, logit) && counts)
        target[wanted] = fromFloat<BFloat16>(coefficient * (expf(logit - whole) - 1.0f));
    }
  }
};

// One block for each row: its log-sum-exp and results; with kDerivative what was kept of its logits becomes d.
template <bool kDerivative>
__global__ void __launch_bounds__(kThreads) mergeTiles(const float2* statistics, const float* targets, BFloat16* kept,
                                                       int64_t tiles, ChunkTokens chunk, Results results) {
  const int64_t row = blockIdx.x, token = chunk.first + row, word = chunk.target(row);
  const float2* const mine = statistics + row * tiles;
  float most = -INFINITY, sum = 0;
  for (int64_t tile = threadIdx.x; tile < tiles; tile += kThreads) most = fmaxf(most, mine[tile].x);
  most = blockMax(most);
  const float origin = most == -INFINITY ? 0.0f : most;
  for (int64_t tile = threadIdx.x; tile < tiles; tile += kThreads) sum += mine[tile].y * expf(mine[tile].x - origin);
  const float lse = most + logf(blockSum(sum)), coefficient = chunk.coefficient(row);
  const bool counts = coefficient != 0;
  const float target = counts && word >= 0 ? targets[row] : -INFINITY;
  if (threadIdx.x == 0) {
    if (results.logprobs) results.logprobs[token] = counts ? target - lse : 0;
    if (results.lse) results.lse[token] = counts ? lse : 0;
    if (results.loss) results.loss[token] = counts ? coefficient * (lse - target) : 0;
  }
  if constexpr (kDerivative) {
    constexpr int kPack = Pack<BFloat16>::kCount;
    BFloat16* const d = kept + row * tiles * product::kColumns;
    for (int64_t start = threadIdx.x * kPack; start < tiles * product::kColumns; start += kThreads * kPack) {
      const float share = counts ? coefficient * expf(mine[start / product::kColumns].x - lse) : 0.0f;
      Pack<BFloat16> pack = loadPack(d + start);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        float value = toFloat(pack.value[i]) * share;
        if (start + i == word) value = coefficient * (expf(target - lse) - 1.0f);
        pack.value[i] = fromFloat<BFloat16>(counts ? value : 0.0f);
      }
      storePack(d + start, pack);
    }
  }
}

inline bool takesHopper(const Call& call) {
  return call[0].dtype == DType::BF16 && call[1].elements() > 0 && packable(call[1]) && hopperKernels();
}

// hidden, weight at 0 and 1; dHidden and dWeight may be absent.
inline void runHopper(const Call& call, const Tokens& tokens, const Results& results, const Tensor& dHidden,
                      const Tensor& dWeight) {
  const Tensor &hidden = call[0], &weight = call[1];
  const int64_t total = hidden.shape[0], E = hidden.shape[1], V = weight.shape[0];
  if (total == 0) return;
  const bool gradients = dHidden.present || dWeight.present;
  const int64_t capacity = total < kHopperChunk ? total : kHopperChunk, rows = ceilDiv(capacity, product::kRows) * product::kRows,
                tiles = ceilDiv(V, product::kColumns), stride = ceilDiv(E, 8) * 8;
  const auto aligned = [](int64_t bytes) { return ceilDiv(bytes, 256) * 256; };
  const int64_t hiddenBytes = aligned(capacity * stride * 2),
                keptBytes = gradients ? aligned(rows * tiles * product::kColumns * 2) : 0,
                statisticBytes = aligned(rows * tiles * static_cast<int64_t>(sizeof(float2))), targetBytes = aligned(rows * 4);
  char* const memory =
      call.scratch<char>(hiddenBytes + keptBytes + statisticBytes + targetBytes + productScratch(capacity, V, E));
  auto* const gathered = reinterpret_cast<BFloat16*>(memory);
  auto* const kept = reinterpret_cast<BFloat16*>(memory + hiddenBytes);
  auto* const statistics = reinterpret_cast<float2*>(memory + hiddenBytes + keptBytes);
  auto* const targets = reinterpret_cast<float*>(memory + hiddenBytes + keptBytes + statisticBytes);
  void* const work = memory + hiddenBytes + keptBytes + statisticBytes + targetBytes;

  for (int64_t first = 0; first < total; first += capacity) {
    const int64_t count = total - first < capacity ? total - first : capacity;
    const auto blocks = static_cast<unsigned>(count);
    const ChunkTokens chunk{tokens, first, count};
    const Tensor left = matrix(gathered, DType::BF16, count, E, stride);
    launch(call, blocks, kThreads, 0, gatherRows<BFloat16>, hidden.as<BFloat16>(), hidden.rowStride, E, tokens, first, gathered,
           stride, FailureReport(call));
    product::Operands<1> operands{};
    product::setPair<1, Operand::AlongK>(operands, 0, left, weight);
    const auto multiplyInto = [&](const auto& epilogue) {
      product::launchProduct<1, Operand::AlongK>(call, operands, count, V, epilogue);
    };
    const auto merge = [&](auto kernel) {
      launch(call, blocks, kThreads, 0, kernel, statistics, targets, kept, tiles, chunk, results);
    };
    if (results.lseGiven) {
      multiplyInto(TileDerivative{chunk, results.lse, kept, tiles});
    } else if (gradients) {
      multiplyInto(TileStatistics<true>{chunk, statistics, targets, kept, tiles});
      merge(mergeTiles<true>);
    } else {
      multiplyInto(TileStatistics<false>{chunk, statistics, targets, kept, tiles});
      merge(mergeTiles<false>);
    }
    if (gradients)
      multiplyGradients(call, matrix(kept, DType::BF16, count, V, tiles * product::kColumns), left, first, dHidden, dWeight,
                        work);
  }
}

}  // namespace cd::cuda::vocabulary
