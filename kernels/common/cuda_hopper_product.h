// Matrix products of bf16 on Hopper: one warpgroup copies tiles into a ring of stages, two multiply 64 rows each of a tile of
// 128 × 256 (the structure of Thakkar et al., CUTLASS 3, "warp-specialised persistent cooperative"). What becomes of the sums is
// the caller's:
//
//   struct Epilogue { __device__ void operator()(Sums& sums, int64_t row, int64_t column) const; };
//
// is called by each multiplying warpgroup with its 64 rows from `row` and 256 columns from `column` on, in the layout of
// cuda_wgmma.h; rows and columns beyond the matrix are there too, as sums of zeros.
//
// Several pairs of operands may follow one another in K: c = (left₀ · right₀) · factor + left₁ · right₁.
//
// Order: an element is one chain over K in steps of 16, from k = 0 of the first pair on, whatever M, N and the GPU are. Blocks
// are persistent: while sums of one tile are used, copies for the next one are under way.
#pragma once

#include "cuda_fragment.h"
#include "cuda_hopper.h"
#include "cuda_wgmma.h"

namespace cd::cuda::product {

constexpr int kRows = 128, kColumns = 256, kDepth = 64, kStages = 4, kThreads = 3 * kWarpgroup;
constexpr int kLeftBytes = kRows * kSwizzleRow, kRightBytes = kColumns * kSwizzleRow;
constexpr int kPanelBytes = kDepth * kSwizzleRow;  // 64 columns of a right tile that lies across K

using Sums = float[kColumns / 8][4];

// Left operands are [M, K]. Right ones are [N, K] (Operand::AlongK) or [K, N] (AcrossK).
template <int kPairs>
struct Operands {
  TensorMap left[kPairs], right[kPairs];
  int steps[kPairs];  // of 64 of K, at least one
  float factor;       // of the first of two
};

// The tiles of a matrix, in bands of 16 rows of them: blocks at work at one time share 2,048 rows of the left operand, which stay
// in the L2 cache, and a few columns.
struct TileOrder {
  static constexpr int kBand = 16;
  int rows, columns;

  __host__ __device__ int count() const { return rows * columns; }
  __device__ int2 place(int tile) const {
    const int band = tile / (kBand * columns), inBand = tile % (kBand * columns);
    const int height = min(kBand, rows - band * kBand);
    return make_int2(band * kBand + inBand % height, inBand / height);
  }
};

struct Ring {
  alignas(kSwizzleAlignment) char left[kStages][kLeftBytes], right[kStages][kRightBytes];
  PhaseBarrier full[kStages], empty[kStages];
};
using Position = RingPosition<kStages>;

template <int kPairs, Operand kRight>
__device__ __forceinline__ void copyTiles(Ring& ring, Position& position, const Operands<kPairs>& operands, int row, int column) {
#pragma unroll
  for (int pair = 0; pair < kPairs; ++pair)
    for (int step = 0; step < operands.steps[pair]; ++step, position.advance()) {
      const int stage = position.stage, k = step * kDepth;
      PhaseBarrier& full = ring.full[stage];
      waitPhase(ring.empty[stage], position.parity ^ 1);
      arriveAnnouncing(full, kLeftBytes + kRightBytes);
      const int left[2] = {k, row}, right[2] = {k, column};
      loadTile<2>(ring.left[stage], operands.left[pair], left, full);
      if constexpr (kRight == Operand::AlongK) loadTile<2>(ring.right[stage], operands.right[pair], right, full);
      else
        for (int panel = 0; panel < kColumns / 64; ++panel) {
          const int place[2] = {column + panel * 64, k};
          loadTile<2>(ring.right[stage] + panel * kPanelBytes, operands.right[pair], place, full);
        }
    }
}

template <int kPairs, Operand kRight>
__device__ __forceinline__ void multiplyTile(Ring& ring, Position& position, const Operands<kPairs>& operands, int firstRow,
                                             Sums& sums) {
  const auto release = [&](int stage) {
    if (laneIndex() == 0) arrive(ring.empty[stage]);
  };
#pragma unroll
  for (int pair = 0; pair < kPairs; ++pair) {
    int before = -1;  // the stage of the products that are still under way
    for (int step = 0; step < operands.steps[pair]; ++step, position.advance()) {
      const int stage = position.stage;
      waitPhase(ring.full[stage], position.parity);
      fenceProducts();
#pragma unroll
      for (int k = 0; k < kDepth; k += 16) {
        const uint64_t right =
            kRight == Operand::AlongK ? alongK(ring.right[stage], k) : acrossK(ring.right[stage], k, kPanelBytes);
        warpgroupMma<kColumns, Operand::AlongK, kRight>(sums, alongK(ring.left[stage] + firstRow * kSwizzleRow, k), right,
                                                        pair > 0 || step > 0 || k > 0);
      }
      commitProducts();
      waitProducts<1>();
      if (before >= 0) release(before);
      before = stage;
    }
    waitProducts<0>();
    holdRegisters(sums);
    release(before);
    if (pair + 1 == kPairs) break;
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[j][i] *= operands.factor;
  }
}

template <int kPairs, Operand kRight, class Epilogue>
__global__ void __launch_bounds__(kThreads, 1)
    multiply(GRID_CONSTANT(Operands<kPairs>) operands, TileOrder order, Epilogue epilogue) {
#if CD_HOPPER
  auto& ring = dynamicShared<Ring>();
  if (threadIdx.x == 0)
    for (int stage = 0; stage < kStages; ++stage) {
      initBarrier(ring.full[stage], 1);
      initBarrier(ring.empty[stage], 2 * kWarpgroup / 32);
    }
  fenceBarriers();
  __syncthreads();

  const int tiles = order.count(), some = static_cast<int>(gridDim.x);
  Position position;
  if (threadIdx.x < kWarpgroup) {
    giveRegisters<24>();
    if (threadIdx.x != 0) return;
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += some) {
      const int2 place = order.place(tile);
      copyTiles<kPairs, kRight>(ring, position, operands, place.x * kRows, place.y * kColumns);
    }
    return;
  }
  takeRegisters<240>();
  const int firstRow = (static_cast<int>(threadIdx.x) / kWarpgroup - 1) * 64;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += some) {
    const int2 place = order.place(tile);
    Sums sums;
    multiplyTile<kPairs, kRight>(ring, position, operands, firstRow, sums);
    epilogue(sums, int64_t{place.x} * kRows + firstRow, int64_t{place.y} * kColumns);
  }
#endif
}

// --- for epilogues -----------------------------------------------------------------------------------------------------------
// The row of this thread's fragments in the warpgroup's 64, and the one eight below.
__device__ __forceinline__ int ownRow(int half) { return warpIndex() % 4 * 16 + fragmentRow(2 * half); }

// Parts j … j + 3 of a row, two columns to a register of each of the four lanes that share it; then the lane has all eight
// columns of part j + lane % 4: 16 bytes.
__device__ __forceinline__ void turnQuad(uint32_t (&x)[4]) {
  const bool odd = laneIndex() % 2 != 0, upper = laneIndex() / 2 % 2 != 0;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    const uint32_t received = __shfl_xor_sync(kAllLanes, odd ? x[i] : x[i + 1], 1);
    if (odd) x[i] = received;
    else x[i + 1] = received;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const uint32_t received = __shfl_xor_sync(kAllLanes, upper ? x[i] : x[i + 2], 2);
    if (upper) x[i] = received;
    else x[i + 2] = received;
  }
}

// Sums, rounded, to a matrix [M, N] of bf16 whose rows packable() takes; added to what is there with `accumulate`.
struct StoreTile {
  BFloat16* c;
  int64_t stride, M, N;
  bool accumulate;

  __device__ __forceinline__ void operator()(Sums& sums, int64_t firstRow, int64_t column) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t row = firstRow + ownRow(half);
      BFloat16* const target = c + row * stride + column;
      const int64_t left = row < M ? N - column : 0;  // elements of the row from here on
      if (accumulate) {
#pragma unroll
        for (int j = 0; j < kColumns / 8; ++j)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            if (fragmentColumn(j, i) < left) sums[j][2 * half + i] += toFloat(target[fragmentColumn(j, i)]);
        __syncwarp();  // a neighbour writes where this lane has read
      }
#pragma unroll
      for (int j = 0; j < kColumns / 8; j += 4) {
        uint32_t quad[4];
#pragma unroll
        for (int part = 0; part < 4; ++part) quad[part] = packBFloat16(sums[j + part][2 * half], sums[j + part][2 * half + 1]);
        turnQuad(quad);
        const int place = (j + laneIndex() % 4) * 8;
        if (place + 8 <= left) {
          *reinterpret_cast<uint4*>(target + place) = make_uint4(quad[0], quad[1], quad[2], quad[3]);
        } else {
#pragma unroll
          for (int i = 0; i < 8; ++i)
            if (place + i < left) target[place + i] = BFloat16{static_cast<uint16_t>(quad[i / 2] >> (i % 2 * 16))};
        }
      }
    }
  }
};

// --- on the host -------------------------------------------------------------------------------------------------------------
inline TensorMap operandMap(const Tensor& operand, int boxRows) {
  // One row may have any stride, which the copy engine would not take.
  const int64_t stride = operand.rows() > 1 ? operand.rowStride : kDepth;
  return tensorMap({operand.data, operand.dtype, 2, {operand.cols(), operand.rows()}, {1, stride}, {kDepth, boxRows}});
}

// left and right: bf16 matrices that packable() takes, without empty sides.
template <int kPairs, Operand kRight>
void setPair(Operands<kPairs>& operands, int pair, const Tensor& left, const Tensor& right) {
  operands.left[pair] = operandMap(left, kRows);
  operands.right[pair] = operandMap(right, kRight == Operand::AlongK ? kColumns : kDepth);
  operands.steps[pair] = static_cast<int>(ceilDiv(left.cols(), kDepth));
}

template <int kPairs, Operand kRight, class Epilogue>
void launchProduct(const Call& call, const Operands<kPairs>& operands, int64_t M, int64_t N, const Epilogue& epilogue) {
  const TileOrder order{static_cast<int>(ceilDiv(M, kRows)), static_cast<int>(ceilDiv(N, kColumns))};
  launch(call, min(static_cast<unsigned>(order.count()), multiprocessors()), kThreads, sizeof(Ring),
         multiply<kPairs, kRight, Epilogue>, operands, order, epilogue);
}

}  // namespace cd::cuda::product
