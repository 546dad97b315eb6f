// Decoding on Hopper: the splits of cuda_decode.h, a block each, one after another from a list that holds no empty ones. The four
// warps of a block take chunks of 16 or 32 keys in turn, each with copies of its own in flight and a softmax of its own; at the
// end of a split the four are joined in order.
//
// Heads that share keys are the columns of products whose rows are keys, then columns of the head: scoresᵀ [keys, heads] = K ·
// Qᵀ, outputᵀ [D, heads] = Vᵀ · weightsᵀ. So 8 heads fill a fragment, and keys and values are the left operand as they lie; fp8
// is widened in registers. A row's bits depend on its position, q and keys alone.
#pragma once

#include "../common/cuda_float8.h"
#include "cuda_decode.h"

namespace cd::cuda::attend {

constexpr int kDecodeBlocks = 2 * 132;  // that run at once: two on each multiprocessor

// The splits of all sequences, numbered through, and how many of them blocks have taken.
struct SplitList {
  int32_t* first;  // [count + 1]: each sequence's first one, and the total
  int32_t* taken;
};

static __global__ void __launch_bounds__(kNumberThreads)
    numberSplits(Documents documents, int64_t tokens, int64_t mostKeys, int rowsPerPiece, int window, int32_t* pieces,
                 SplitList list, FailureReport fail) {
  if (threadIdx.x == 0) *list.taken = 0;
  const auto splitsOf = [&](int sequence) {
    const int position = documents.keys(sequence) - 1;
    const int firstKey = window == 0 ? 0 : max(0, position - window + 1);
    return documents.queries(sequence) == 1 ? position / kSplit - firstKey / kSplit + 1 : 0;
  };
  numberAll(documents, tokens, mostKeys, rowsPerPiece, 2, pieces, list.first, splitsOf, fail);
}

// C: the cache's type. kTiles: of 8 heads.
template <int kHead, class C, int kTiles>
struct HopperDecode {
  static constexpr int kWarps = 4, kThreads = 32 * kWarps, kStages = 3, kHeads = 8 * kTiles;
  static constexpr int kRowBytes = kHead * sizeof(C), kRowPacks = kRowBytes / 16;
  static constexpr int kKeys = kRowBytes < 256 ? 32 : 16;  // of a chunk
  static constexpr int kChunks = kSplit / kKeys;           // of a split

  struct Chunk {
    char k[kKeys * kRowBytes], v[kKeys * kRowBytes];
  };
  // What the warps found; where the chunks were.
  struct Results {
    float o[kWarps][kHeads][kHead + 4];  // four more, so that heads start in different banks
    float2 softmax[kWarps][kHeads];
  };
  union Shared {
    alignas(128) Chunk chunks[kWarps][kStages];
    Results results;
  };

  // Where 16 bytes of a row lie in a chunk: the same ones of eight rows in different banks.
  __device__ static int place(int row, int pack) {
    constexpr int kRowsOfLine = kRowPacks < 8 ? 8 / kRowPacks : 1, kOthers = kRowPacks < 8 ? kRowPacks : 8;
    return (row * kRowPacks + (pack ^ (row / kRowsOfLine % kOthers))) * 16;
  }
};

#if CD_HOPPER
// Left operand [16 keys, 16 columns] from `rows` on: fragment `step` of the keys' products with queries. For fp8 a thread has
// four neighbours where a fragment has two pairs eight apart: the queries have theirs in the same order.
template <class Shape, class C>
struct ChunkReader {
  const char* tile;

  __device__ __forceinline__ const BFloat16* at(int row, int pack) const {
    return reinterpret_cast<const BFloat16*>(tile + Shape::place(row, pack));
  }
  // visit(step, fragment) for every 16 columns of keys [row, row + 16).
  template <class Visit>
  __device__ __forceinline__ void alongColumns(int row, Visit&& visit) const {
    const int lane = laneIndex();
    uint32_t loaded[4];
#pragma unroll
    for (int pack = 0; pack < Shape::kRowPacks; pack += 2) {
      loadMatrix<4>(loaded, at(row + lane % 16, pack + lane / 16));
      if constexpr (std::is_same_v<C, Float8>) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t left[4];
          widenFloat8(loaded[2 * half], left[0], left[2]);
          widenFloat8(loaded[2 * half + 1], left[1], left[3]);
          visit(pack + half, left);
        }
      } else {
        visit(pack / 2, loaded);
      }
    }
  }
  // visit(part, fragment) for every 16 columns, as rows, of values [row, row + 16), as columns. For fp8 rows 0 … 7 of a fragment
  // are the even columns, 8 … 15 the odd ones.
  template <class Visit>
  __device__ __forceinline__ void acrossColumns(int row, Visit&& visit) const {
    const int lane = laneIndex();
    uint32_t loaded[4];
#pragma unroll
    for (int pack = 0; pack < Shape::kRowPacks; pack += 2) {
      if constexpr (std::is_same_v<C, Float8>) {
        loadMatrix<4, true>(loaded, at(row + lane % 16, pack + lane / 16));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          uint32_t left[4];
          widenFloat8(swapMiddle(loaded[2 * half]), left[0], left[1]);
          widenFloat8(swapMiddle(loaded[2 * half + 1]), left[2], left[3]);
          visit(pack + half, left);
        }
      } else {
        loadMatrix<4, true>(loaded, at(row + lane / 16 * 8 + lane % 8, pack + lane / 8 % 2));
        visit(pack / 2, loaded);
      }
    }
  }
};

// The lanes that share a column of a fragment.
__device__ __forceinline__ float columnMax(float value) {
#pragma unroll
  for (int bits = 4; bits < 32; bits *= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, bits));
  return value;
}
__device__ __forceinline__ float columnSum(float value) {
#pragma unroll
  for (int bits = 4; bits < 32; bits *= 2) value += __shfl_xor_sync(kAllLanes, value, bits);
  return value;
}
#endif

template <int kHead, class C, int kTiles>
__global__ void __launch_bounds__(HopperDecode<kHead, C, kTiles>::kThreads, 2)
    attendSplitsHopper(Forward<BFloat16, PagedKeys, C> a, Splits splits, SplitList list, int groups) {
#if CD_HOPPER
  using Shape = HopperDecode<kHead, C, kTiles>;
  constexpr int kKeys = Shape::kKeys, kStages = Shape::kStages;
  constexpr bool kFp8 = std::is_same_v<C, Float8>;
  SHARED(int, next);
  auto& shared = dynamicShared<typename Shape::Shared>();
  const int warp = warpIndex(), lane = laneIndex(), pair = lane % 4;
  const int heads = a.documents.heads, headTiles = static_cast<int>(ceilDiv(heads, Shape::kHeads));
  const int total = list.first[a.documents.count] * groups * headTiles;

  for (;;) {
    if (threadIdx.x == 0) next = atomicAdd(list.taken, 1);
    __syncthreads();
    const int item = next;
    if (item >= total) return;
    // Groups come first: neighbours in memory are read at about the same time.
    const int group = item % groups, firstHead = item / groups % headTiles * Shape::kHeads, number = item / groups / headTiles;
    int before = 0;
    for (int b = lane; b < a.documents.count; b += 32) before += list.first[b] <= number;
    const int sequence = warpSum(before) - 1, position = a.documents.keys(sequence) - 1;
    const int earliest = a.firstKey(position), split = earliest / kSplit + number - list.first[sequence];
    const int start = split * kSplit, first = max(earliest - start, 0), last = min(position - start, kSplit - 1);  // in the split
    const int rowCount = min(Shape::kHeads, heads - firstHead), firstRow = group * heads + firstHead;

    const auto copyChunk = [&](int chunk, int stage) {
      const int key = chunk * kKeys + lane;
      int slot = -1;
      if (lane < kKeys && key >= first && key <= last) slot = static_cast<int>(a.keys.slot(sequence, start + key));
      auto& target = shared.chunks[warp][stage];
#pragma unroll
      for (int i = 0; i < kKeys * Shape::kRowPacks; i += 32) {
        const int row = (i + lane) / Shape::kRowPacks, pack = (i + lane) % Shape::kRowPacks, place = Shape::place(row, pack);
        const int from = __shfl_sync(kAllLanes, slot, row), bytes = from < 0 ? 0 : 16;
        const int64_t source = int64_t{max(from, 0)} * groups + group;
        copyAsync16(target.k + place, a.k[source] + pack * Pack<C>::kCount, bytes);
        copyAsync16(target.v + place, a.v[source] + pack * Pack<C>::kCount, bytes);
      }
    };
    const int end = last / kKeys + 1,
              from = first / kKeys + (warp - first / kKeys % Shape::kWarps + Shape::kWarps) % Shape::kWarps;
#pragma unroll
    for (int stage = 0; stage < kStages - 1; ++stage) {
      if (from + stage * Shape::kWarps < end) copyChunk(from + stage * Shape::kWarps, stage);
      copyAsyncCommit();
    }

    // Right operands of the scores: [16 columns, 8 heads] each.
    uint32_t queries[kTiles][kHead / 16][2];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      const int row = tile * 8 + lane / 4;
      const int64_t head = int64_t{a.documents.bounds[sequence]} * a.queryHeads + firstRow + row;
      const uint32_t* const source = reinterpret_cast<const uint32_t*>(a.q[row < rowCount ? head : 0]);
#pragma unroll
      for (int step = 0; step < kHead / 16; ++step)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          queries[tile][step][half] = row < rowCount ? source[step * 8 + (kFp8 ? 2 * pair + half : pair + 4 * half)] : 0;
    }

    float o[kTiles][kHead / 16][4] = {};
    Softmax softmax[kTiles][2];  // of heads 2 · pair and the next; sums are the thread's own part
    int stage = 0;
    for (int chunk = from; chunk < end; chunk += Shape::kWarps) {
      copyAsyncWait<kStages - 2>();
      __syncwarp();
      const int ahead = chunk + (kStages - 1) * Shape::kWarps;
      if (ahead < end) copyChunk(ahead, stage == 0 ? kStages - 1 : stage - 1);
      copyAsyncCommit();
      const auto& here = shared.chunks[warp][stage];
      stage = stage + 1 == kStages ? 0 : stage + 1;

      const ChunkReader<Shape, C> keys{here.k}, values{here.v};
      float scores[kTiles][kKeys / 16][4] = {};
#pragma unroll
      for (int part = 0; part < kKeys / 16; ++part)
        keys.alongColumns(part * 16, [&](int step, const uint32_t (&left)[4]) {
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) mma(scores[tile][part], left, queries[tile][step]);
        });

      uint32_t weights[kTiles][kKeys / 16][2];
      const bool whole = chunk * kKeys >= first && chunk * kKeys + kKeys - 1 <= last;
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        float shrink[2];
#pragma unroll
        for (int column = 0; column < 2; ++column) {
          float greatest = -INFINITY;
#pragma unroll
          for (int part = 0; part < kKeys / 16; ++part)
#pragma unroll
            for (int i = column; i < 4; i += 2) {
              const int key = chunk * kKeys + part * 16 + fragmentRow(i);
              float& score = scores[tile][part][i];
              score = whole || (key >= first && key <= last) ? score * a.scale : -INFINITY;
              greatest = fmaxf(greatest, score);
            }
          Softmax& state = softmax[tile][column];
          shrink[column] = state.grow(columnMax(greatest));
          float sum = 0;
#pragma unroll
          for (int part = 0; part < kKeys / 16; ++part)
#pragma unroll
            for (int i = column; i < 4; i += 2) sum += scores[tile][part][i] = state.weight(scores[tile][part][i]);
          state.sum = state.sum * shrink[column] + sum;
        }
#pragma unroll
        for (int part = 0; part < kKeys / 16; ++part)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            weights[tile][part][half] =
                transposeMatrix(packBFloat16(scores[tile][part][2 * half], scores[tile][part][2 * half + 1]));
#pragma unroll
        for (int j = 0; j < kHead / 16; ++j)
#pragma unroll
          for (int i = 0; i < 4; ++i) o[tile][j][i] *= shrink[i % 2];
      }
#pragma unroll
      for (int part = 0; part < kKeys / 16; ++part)
        values.acrossColumns(part * 16, [&](int j, const uint32_t (&left)[4]) {
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) mma(o[tile][j], left, weights[tile][part]);
        });
    }

    __syncthreads();  // chunks become results
    auto& results = shared.results;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int head = tile * 8 + 2 * pair + i % 2;
#pragma unroll
        for (int j = 0; j < kHead / 16; ++j)
          results.o[warp][head][j * 16 + (kFp8 ? lane / 4 * 2 + i / 2 : fragmentRow(i))] = o[tile][j][i];
        if (i >= 2) continue;
        const float sum = columnSum(softmax[tile][i].sum);
        if (lane < 4) results.softmax[warp][head] = make_float2(softmax[tile][i].most, sum);
      }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < rowCount * kHead; i += Shape::kThreads) {
      const int head = i / kHead, column = i % kHead;
      Softmax joint;
      float output = 0;
#pragma unroll
      for (int part = 0; part < Shape::kWarps; ++part) {
        const float2 found = results.softmax[part][head];
        const float shrink = joint.grow(found.x), weight = joint.weight(found.x);
        joint.sum = joint.sum * shrink + found.y * weight;
        output = output * shrink + results.o[part][head][column] * weight;
      }
      const int64_t place = splits.place(sequence, firstRow + head, a.queryHeads, split);
      splits.output[place * kHead + column] = output;
      if (column == 0) splits.softmax[place] = make_float2(joint.most, joint.sum);
    }
  }
#endif
}

}  // namespace cd::cuda::attend
