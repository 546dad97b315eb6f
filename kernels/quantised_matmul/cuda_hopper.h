// y = x · Wᵀ on Hopper, as yᵀ = W · xᵀ: W is the left operand of a product of warpgroups, which may come from registers. So its
// codes travel as they are, from memory to shared memory by the copy engine and from there into the fragments of those threads
// that multiply them; numbers of W exist nowhere but in registers. x is the right operand, in shared memory.
//
// One warpgroup copies into a ring of stages, the others have kBlocks · 64 rows of W each and all tokens of a tile. While the
// tensor cores multiply one set of fragments (64 columns of W), the next one is dequantised.
//   few tokens:  64 tokens, W, read once, is what takes time: 64 rows of it and two blocks to a multiprocessor; 128 rows where
//   that
//                keeps all multiprocessors busy, as every tile brings its tokens along
//   many:        256 rows × 128 tokens, so that dequantising is little beside multiplying
// Order: an element is one chain over K in steps of 16, from k = 0 on, whichever of these it is: for every M the same bits.
#pragma once

#include "../common/cuda_fp8.h"
#include "../common/cuda_hopper_product.h"
#include "../matmul/cuda_tiles.h"
#include "quantised_matmul.h"

namespace cd::cuda::quantised {

// A row of a stage is 128 bytes of codes: 128 columns of fp8, 256 of mxfp4.
template <bool kNibbles_, int kGroups_, int kBlocks_, int kTokens_, int kStages_>
struct Shape {
  static constexpr bool kNibbles = kNibbles_;
  static constexpr int kGroups = kGroups_, kBlocks = kBlocks_, kTokens = kTokens_, kStages = kStages_;
  static constexpr int kRows = kGroups * kBlocks * 64, kColumns = kNibbles ? 256 : 128, kPanels = kColumns / 64;
  static constexpr int kThreads = (kGroups + 1) * kWarpgroup, kResident = kGroups == 1 ? 2 : 1;
  static constexpr int kCodeBytes = kRows * kSwizzleRow, kPanelBytes = kTokens * kSwizzleRow;

  struct Ring {
    alignas(kSwizzleAlignment) char codes[kStages][kCodeBytes], tokens[kStages][kPanels][kPanelBytes];
    PhaseBarrier full[kStages], empty[kStages];
  };
  using Position = RingPosition<kStages>;
  using Sums = float[kBlocks][kTokens / 8][4];
};
template <bool kNibbles>
using FewTokens = Shape<kNibbles, 1, 1, 64, kNibbles ? 2 : 4>;
template <bool kNibbles>
using FewTokensWide = Shape<kNibbles, 2, 1, 64, kNibbles ? 4 : 6>;
template <bool kNibbles>
using ManyTokens = Shape<kNibbles, 2, 2, 128, kNibbles ? 2 : 3>;

// Where scales lie; with one for all of fp8 both steps are 0.
struct Scales {
  const void* data;
  int64_t rowStep, columnStep;  // fp8: from block to block; mxfp4: rowStep from row to row
};

// The scales that a thread needs of a stage: its fragments' rows are `row` and `row` + 8 of each block of 64.
template <class S>
struct StageScales {
  float blocks[S::kBlocks];  // fp8
  __device__ __forceinline__ void load(const Scales& scales, int64_t row, int64_t rows, int step) {
#pragma unroll
    for (int block = 0; block < S::kBlocks; ++block) {
      const int64_t place = min(row + block * 64, rows - 1) / kScaleBlock;
      blocks[block] = __ldg(static_cast<const float*>(scales.data) + place * scales.rowStep + step * scales.columnStep);
    }
  }
  __device__ __forceinline__ float at(int block, int, int) const { return blocks[block]; }
};
template <class S>
  requires S::kNibbles
struct StageScales<S> {
  uint2 rows[S::kBlocks][2];  // eight scales of each
  __device__ __forceinline__ void load(const Scales& scales, int64_t row, int64_t rows, int step) {
#pragma unroll
    for (int block = 0; block < S::kBlocks; ++block)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int64_t place = min(row + block * 64 + half * 8, rows - 1);
        this->rows[block][half] =
            __ldg(reinterpret_cast<const uint2*>(static_cast<const uint8_t*>(scales.data) + place * scales.rowStep + step * 8));
      }
  }
  // Of columns k … k + 15 of the stage.
  __device__ __forceinline__ float at(int block, int half, int k) const {
    const uint2& eight = rows[block][half];
    return exponentScale(static_cast<uint8_t>((k < 128 ? eight.x : eight.y) >> (k / kNibbleBlock % 4 * 8)));
  }
};

// The fragment of 16 rows and 16 columns of W, from `k` on, whose first row begins at `codes`. Rows 8 and more further on are
// swizzled alike.
template <class S>
__device__ __forceinline__ void dequantise(uint32_t (&a)[4], const char* codes, int k, const StageScales<S>& scales, int block) {
  const int row = laneIndex() / 4, pair = laneIndex() % 4, byte = S::kNibbles ? k / 2 : k;
  const char* const own = codes + row * kSwizzleRow + ((byte & ~15) ^ (row << 4)) + (byte & 15) + (S::kNibbles ? pair : pair * 2);
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float scale = scales.at(block, half, k);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const char* const place = own + half * 8 * kSwizzleRow + part * (S::kNibbles ? 4 : 8);
      uint32_t& result = a[part * 2 + half];
      if constexpr (S::kNibbles) {
        // Both where bf16 has its bits, times 2⁻¹²⁶: as nibbleToFloat, and as exact.
        const uint32_t both = *reinterpret_cast<const uint8_t*>(place), apart = both | both << 12;
        const uint32_t small = (apart << 12 & 0x80008000u) | (apart << 6 & 0x01c001c0u);
        result = multiplyBFloat16Pair(multiplyBFloat16Pair(small, 0x7e807e80u), packBFloat16(scale, scale));
      } else {
        const float2 numbers = widenFloat8(*reinterpret_cast<const uint16_t*>(place));
        result = packBFloat16(numbers.x * scale, numbers.y * scale);
      }
    }
  }
}

struct Operands {
  TensorMap codes, tokens;
  Scales scales;
  int steps;  // stages of K
};

template <class S>
__device__ __forceinline__ void copyTile(typename S::Ring& ring, typename S::Position& position, const Operands& operands,
                                         int row, int token) {
  for (int step = 0; step < operands.steps; ++step, position.advance()) {
    const int stage = position.stage;
    PhaseBarrier& full = ring.full[stage];
    waitPhase(ring.empty[stage], position.parity ^ 1);
    arriveAnnouncing(full, S::kCodeBytes + S::kPanels * S::kPanelBytes);
    const int codes[2] = {step * kSwizzleRow, row};
    loadTile<2>(ring.codes[stage], operands.codes, codes, full);
    for (int panel = 0; panel < S::kPanels; ++panel) {
      const int tokens[2] = {step * S::kColumns + panel * 64, token};
      loadTile<2>(ring.tokens[stage][panel], operands.tokens, tokens, full);
    }
  }
}

// firstRow: of this warpgroup in the tile; row: the same in W.
template <class S>
__device__ __forceinline__ void multiplyTile(typename S::Ring& ring, typename S::Position& position, const Operands& operands,
                                             int firstRow, int64_t row, int64_t rows, typename S::Sums& sums) {
  const auto release = [&](int stage) {
    if (laneIndex() == 0) arrive(ring.empty[stage]);
  };
  const int warpRow = warpIndex() % 4 * 16;
  const int64_t own = row + warpRow + laneIndex() / 4;
  uint32_t fragments[2][4][4];
  StageScales<S> next;
  next.load(operands.scales, own, rows, 0);
  int before = -1;  // the stage of which products are still under way
  for (int step = 0; step < operands.steps; ++step, position.advance()) {
    const int stage = position.stage;
    const StageScales<S> scales = next;
    if (step + 1 < operands.steps) next.load(operands.scales, own, rows, step + 1);
    waitPhase(ring.full[stage], position.parity);
#pragma unroll
    for (int panel = 0; panel < S::kPanels; ++panel)
#pragma unroll
      for (int block = 0; block < S::kBlocks; ++block) {
        auto& a = fragments[(panel * S::kBlocks + block) % 2];
#pragma unroll
        for (int k = 0; k < 4; ++k)
          dequantise<S>(a[k], ring.codes[stage] + (firstRow + block * 64 + warpRow) * kSwizzleRow, panel * 64 + k * 16, scales,
                        block);
        fenceProducts();
#pragma unroll
        for (int k = 0; k < 4; ++k)
          warpgroupMma<S::kTokens, Operand::AlongK>(sums[block], a[k], alongK(ring.tokens[stage][panel], k * 16),
                                                    step > 0 || panel > 0 || k > 0);
        commitProducts();
        waitProducts<1>();  // the fragments before these may be written over
        if (panel == 0 && block == 0 && before >= 0) release(before);
      }
    before = stage;
  }
  waitProducts<0>();
#pragma unroll
  for (int block = 0; block < S::kBlocks; ++block) holdRegisters(sums[block]);
  release(before);
}

// Sums [rows of W, tokens] to y [tokens, rows]: neighbouring lanes exchange, so that each has two neighbours of a row of y. `row`
// is the first one of the warp.
template <class S>
__device__ __forceinline__ void storeTurned(const typename S::Sums& sums, const Output& y, int64_t row, int64_t token) {
  const int odd = laneIndex() / 4 % 2;
#pragma unroll
  for (int j = 0; j < S::kTokens / 8; ++j) {
    const int64_t target = token + fragmentColumn(j, odd);
    BFloat16* const line = static_cast<BFloat16*>(y.data) + target * y.stride;
#pragma unroll
    for (int block = 0; block < S::kBlocks; ++block)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float first = sums[block][j][2 * half], second = sums[block][j][2 * half + 1];
        const float received = __shfl_xor_sync(kAllLanes, odd ? first : second, 4);
        const int64_t column = row + block * 64 + fragmentRow(2 * half) - odd;
        const float left = odd ? received : first, right = odd ? second : received;
        if (y.bf16 && !y.accumulate && target < y.M && column + 1 < y.N) {
          storePair(line + column, left, right);
        } else {
          y.write(target, column, left);
          y.write(target, column + 1, right);
        }
      }
  }
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, S::kResident)
    multiply(GRID_CONSTANT(Operands) operands, product::TileOrder order, Output y) {
#if CD_HOPPER
  auto& ring = dynamicShared<typename S::Ring>();
  if (threadIdx.x == 0)
    for (int stage = 0; stage < S::kStages; ++stage) {
      initBarrier(ring.full[stage], 1);
      initBarrier(ring.empty[stage], S::kGroups * kWarpgroup / 32);
    }
  fenceBarriers();
  __syncthreads();

  const int tiles = order.count(), some = static_cast<int>(gridDim.x);
  typename S::Position position;
  if (threadIdx.x < kWarpgroup) {
    if constexpr (S::kGroups > 1) giveRegisters<24>();
    if (threadIdx.x != 0) return;
    for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += some) {
      const int2 place = order.place(tile);
      copyTile<S>(ring, position, operands, place.x * S::kRows, place.y * S::kTokens);
    }
    return;
  }
  if constexpr (S::kGroups > 1) takeRegisters<240>();
  const int firstRow = (static_cast<int>(threadIdx.x) / kWarpgroup - 1) * S::kBlocks * 64;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += some) {
    const int2 place = order.place(tile);
    const int64_t row = int64_t{place.x} * S::kRows + firstRow, token = int64_t{place.y} * S::kTokens;
    typename S::Sums sums;
    multiplyTile<S>(ring, position, operands, firstRow, row, y.N, sums);
    storeTurned<S>(sums, y, row + warpIndex() % 4 * 16, token);
  }
#endif
}

// --- on the host -------------------------------------------------------------------------------------------------------------
template <class S>
void launchShape(const Call& call, const Scales& scales, int64_t K, const Output& y) {
  const Tensor &x = call[0], &weight = call[1];
  const product::TileOrder order{static_cast<int>(ceilDiv(y.N, S::kRows)), static_cast<int>(ceilDiv(y.M, S::kTokens))};
  Operands operands;
  // One row may have any stride, which the copy engine would not take.
  const int64_t stride = weight.rows() > 1 ? weight.rowStride : kSwizzleRow;
  operands.codes = tensorMap({weight.data, DType::U8, 2, {weight.cols(), weight.rows()}, {1, stride}, {kSwizzleRow, S::kRows}});
  operands.tokens = product::operandMap(x, S::kTokens);
  operands.scales = scales;
  operands.steps = static_cast<int>(ceilDiv(K, S::kColumns));
  launch(call, min(static_cast<unsigned>(order.count()), S::kResident * multiprocessors()), S::kThreads, sizeof(typename S::Ring),
         multiply<S>, operands, order, y);
}

template <bool kNibbles>
void launchForm(const Call& call, const Scales& scales, int64_t K, const Output& y) {
  using Many = ManyTokens<kNibbles>;
  using Wide = FewTokensWide<kNibbles>;
  const int64_t wanted = multiprocessors();
  if (ceilDiv(y.N, Many::kRows) * ceilDiv(y.M, Many::kTokens) >= wanted) launchShape<Many>(call, scales, K, y);
  else if (ceilDiv(y.N, Wide::kRows) * ceilDiv(y.M, Wide::kTokens) >= wanted) launchShape<Wide>(call, scales, K, y);
  else launchShape<FewTokens<kNibbles>>(call, scales, K, y);
}

// Whether it took the product.
inline bool multiplyOnHopper(const Call& call, const QuantisedWeight& w, const Output& y) {
  const Tensor &x = call[0], &weight = call[1], &scales = call[2];
  const int64_t K = x.shape[1];
  const bool nibbles = w.form == WeightForm::Mxfp4;
  if (x.dtype != DType::BF16 || y.M == 0 || y.N == 0 || K == 0 || w.firstRow != 0 || w.firstColumn != 0 || !packable(x) ||
      !packable(weight) || !packable(call[3]) || !hopperKernels())
    return false;
  // Scales of mxfp4 are read eight at a time.
  if (nibbles && (K % 256 != 0 || w.scaleStride % 8 != 0 || reinterpret_cast<uintptr_t>(scales.data) % 8 != 0)) return false;
  const bool blocks = w.form == WeightForm::Fp8Block;
  const Scales from{scales.data, nibbles || blocks ? w.scaleStride : 0, blocks ? 1 : 0};
  if (nibbles) launchForm<true>(call, from, K, y);
  else launchForm<false>(call, from, K, y);
  return true;
}

}  // namespace cd::cuda::quantised
