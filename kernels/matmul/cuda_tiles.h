// The kernels of matrix products, for any right-hand operand that can bring tiles into shared memory: `fetch(tile, right, line,
// column)` where they are bf16, `right.at(line, place)` with `lines` and `length` where they are f32. Theirs is one order for
// every M, N and layout: an element is one chain over K, in steps of 16 of the tensor core (bf16) or of one multiply-add (f32),
// from k = 0 on.
#pragma once

#include "../common/cuda_copy.h"
#include "../common/cuda_mma.h"

namespace cd::cuda {

// What a kernel does with a finished sum.
struct Output {
  void* data;
  int64_t stride, M, N;
  float alpha;
  bool accumulate, bf16;

  template <class C>
  __device__ __forceinline__ void put(int64_t row, int64_t column, float sum) const {
    C* const element = static_cast<C*>(data) + row * stride + column;
    const float product = sum * alpha;
    *element = fromFloat<C>(accumulate ? toFloat(*element) + product : product);
  }
  __device__ __forceinline__ void write(int64_t row, int64_t column, float sum) const {
    if (row >= M || column >= N) return;
    if (bf16) put<BFloat16>(row, column, sum);
    else put<float>(row, column, sum);
  }
};

// An operand as memory has it: `lines` rows of `length` contiguous elements, `stride` apart.
template <class T>
struct Lines {
  const T* data;
  int64_t stride, lines, length;
  bool packs;  // every 16 bytes of a line are aligned

  __device__ __forceinline__ T at(int64_t line, int64_t place) const { return data[line * stride + place]; }
};

constexpr int kTile = 128, kDepth = 32, kStages = 3, kThreads = 256, kPad = 8;

// A tile in shared memory, its lines as they lie in memory: along K (kTile lines of kDepth) or across it (kDepth lines of kTile).
// The padding puts lines that one instruction reads into different banks.
template <bool AcrossK>
struct alignas(128) SharedTile {
  static constexpr int kLines = AcrossK ? kDepth : kTile, kLength = AcrossK ? kTile : kDepth;
  BFloat16 values[kLines][kLength + kPad];
};
template <bool LeftAcrossK, bool RightAcrossK>
struct Tiles {
  SharedTile<LeftAcrossK> left[kStages];
  SharedTile<RightAcrossK> right[kStages];
};

// Starts copying the tile at (line, column); what lies outside of the operand becomes 0.
template <bool AcrossK>
__device__ __forceinline__ void fetch(SharedTile<AcrossK>& tile, const Lines<BFloat16>& source, int64_t line, int64_t column) {
  constexpr int kPacks = SharedTile<AcrossK>::kLength / 8;
  for (int index = threadIdx.x; index < SharedTile<AcrossK>::kLines * kPacks; index += kThreads) {
    const int row = index / kPacks, place = index % kPacks * 8;
    BFloat16* const target = &tile.values[row][place];
    const int64_t first = column + place;
    const bool inside = line + row < source.lines && first < source.length;
    const int count = !inside ? 0 : source.length - first < 8 ? static_cast<int>(source.length - first) : 8;
    const BFloat16* const from = source.data + (inside ? (line + row) * source.stride + first : 0);
    if (source.packs) copyAsync16(target, from, count * 2);
    else
      for (int i = 0; i < 8; ++i) target[i] = i < count ? from[i] : BFloat16{0};
  }
}

// The 16 × 16 part of the left tile at (row, k), as mma wants it.
template <bool AcrossK>
__device__ __forceinline__ void loadLeft(uint32_t (&a)[4], const SharedTile<AcrossK>& tile, int row, int k) {
  const int matrix = laneIndex() / 8, r = laneIndex() % 8, m = row + matrix % 2 * 8, d = k + matrix / 2 * 8;
  if constexpr (AcrossK) loadMatrix<4, true>(a, &tile.values[d + r][m]);
  else loadMatrix<4>(a, &tile.values[m + r][d]);
}
// Two 16 × 8 parts of the right tile, at columns n and n + 8.
template <bool AcrossK>
__device__ __forceinline__ void loadRight(uint32_t (&b)[4], const SharedTile<AcrossK>& tile, int column, int k) {
  const int matrix = laneIndex() / 8, r = laneIndex() % 8, n = column + matrix / 2 * 8, d = k + matrix % 2 * 8;
  if constexpr (AcrossK) loadMatrix<4, true>(b, &tile.values[d + r][n]);
  else loadMatrix<4>(b, &tile.values[n + r][d]);
}

// --- bf16: tensor cores, tiles of 128 × 128 × 32, three of them on their way -----------------------------------------------
// 8 warps, 2 × 4, each 64 × 32 of the block's tile.
template <bool LeftAcrossK, bool RightAcrossK, class Right>
__global__ void __launch_bounds__(kThreads) multiplyBFloat16(Lines<BFloat16> left, Right right, Output output, int64_t K) {
  auto& tiles = dynamicShared<Tiles<LeftAcrossK, RightAcrossK>>();
  const int64_t columnTiles = ceilDiv(output.N, kTile);
  const int64_t row = blockIdx.x / columnTiles * kTile, column = blockIdx.x % columnTiles * kTile;
  const int steps = static_cast<int>(ceilDiv(K, kDepth));
  const auto start = [&](int step) {
    const int64_t k = int64_t{step} * kDepth;
    if (step < steps) {
      fetch(tiles.left[step % kStages], left, LeftAcrossK ? k : row, LeftAcrossK ? row : k);
      fetch(tiles.right[step % kStages], right, RightAcrossK ? k : column, RightAcrossK ? column : k);
    }
    copyAsyncCommit();
  };
  for (int step = 0; step < kStages - 1; ++step) start(step);

  const int warpRow = warpIndex() / 4 * 64, warpColumn = warpIndex() % 4 * 32;
  float sums[4][4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copyAsyncWait<kStages - 2>();
    __syncthreads();  // this step's tiles are there, and nobody reads those of the step before
    start(step + kStages - 1);
#pragma unroll
    for (int k = 0; k < kDepth; k += 16) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) loadLeft(a[i], tiles.left[step % kStages], warpRow + i * 16, k);
#pragma unroll
      for (int j = 0; j < 2; ++j) loadRight(b[j], tiles.right[step % kStages], warpColumn + j * 16, k);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t part[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
          mma(sums[i][j], a[i], part);
        }
    }
  }

#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int part = 0; part < 4; ++part)
        output.write(row + warpRow + i * 16 + laneIndex() / 4 + part / 2 * 8,
                     column + warpColumn + j * 8 + laneIndex() % 4 * 2 + part % 2, sums[i][j][part]);
}

// --- f32: multiply-adds, tiles of 64 × 64 × 16 --------------------------------------------------------------------------------
constexpr int kTile32 = 64, kDepth32 = 16;

// The tile of 64 rows (of M or N) and 16 k as [k][row]; threads follow the direction in which memory runs.
template <class Source>
__device__ __forceinline__ void fetch32(float (&tile)[kDepth32][kTile32 + 4], const Source& source, bool acrossK, int64_t row,
                                        int64_t k) {
  for (int index = threadIdx.x; index < kTile32 * kDepth32; index += kThreads) {
    const int r = acrossK ? index % kTile32 : index / kDepth32, d = acrossK ? index / kTile32 : index % kDepth32;
    const int64_t line = acrossK ? k + d : row + r, place = acrossK ? row + r : k + d;
    tile[d][r] = line < source.lines && place < source.length ? source.at(line, place) : 0.0f;
  }
}

template <class Right>
__global__ void __launch_bounds__(kThreads)
    multiplyFloat(Lines<float> left, bool leftAcrossK, Right right, bool rightAcrossK, Output output, int64_t K) {
  SHARED(float[kDepth32][kTile32 + 4], a);
  SHARED(float[kDepth32][kTile32 + 4], b);
  const int64_t columnTiles = ceilDiv(output.N, kTile32);
  const int64_t row = blockIdx.x / columnTiles * kTile32, column = blockIdx.x % columnTiles * kTile32;
  const int threadRow = threadIdx.x / 16 * 4, threadColumn = threadIdx.x % 16 * 4;
  float sums[4][4] = {};
  for (int64_t k = 0; k < K; k += kDepth32) {
    fetch32(a, left, leftAcrossK, row, k);
    fetch32(b, right, rightAcrossK, column, k);
    __syncthreads();
    // Beyond K both tiles hold 0: a step there leaves the sum as it is (−0 becomes 0).
    for (int d = 0; d < kDepth32; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) sums[i][j] = fmaf(a[d][threadRow + i], b[d][threadColumn + j], sums[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) output.write(row + threadRow + i, column + threadColumn + j, sums[i][j]);
}

// --- on the host --------------------------------------------------------------------------------------------------------------
template <bool LeftAcrossK, bool RightAcrossK, class Right>
void launchBFloat16(const Call& call, const Lines<BFloat16>& left, const Right& right, const Output& output, int64_t K) {
  const auto blocks = static_cast<unsigned>(ceilDiv(output.M, kTile) * ceilDiv(output.N, kTile));
  launch(call, blocks, kThreads, sizeof(Tiles<LeftAcrossK, RightAcrossK>), multiplyBFloat16<LeftAcrossK, RightAcrossK, Right>,
         left, right, output, K);
}
template <class Right>
void launchFloat(const Call& call, const Lines<float>& left, bool leftAcrossK, const Right& right, bool rightAcrossK,
                 const Output& output, int64_t K) {
  const auto blocks = static_cast<unsigned>(ceilDiv(output.M, kTile32) * ceilDiv(output.N, kTile32));
  launch(call, blocks, kThreads, 0, multiplyFloat<Right>, left, leftAcrossK, right, rightAcrossK, output, K);
}
template <class T>
Lines<T> linesOf(const Tensor& tensor) {
  return {tensor.as<T>(), tensor.rowStride, tensor.shape[0], tensor.shape[1], packable(tensor)};
}

}  // namespace cd::cuda
