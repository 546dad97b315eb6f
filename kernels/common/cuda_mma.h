// Products on tensor cores by warps (mma.sync m16n8k16, bf16 into f32), and loads of their operands from shared memory
// (ldmatrix). PTX under nvcc, the same by hand in emulation.
//
// Fragments, as the PTX manual draws them. With group = lane / 4 and pair = lane % 4, lane's registers hold
//   A [16, 16], 4 registers of two bf16:  (group, 2·pair), (group + 8, 2·pair), (group, 2·pair + 8), (group + 8, 2·pair + 8)
//   B [16, 8],  2 registers of two bf16:  (2·pair, group), (2·pair + 8, group)          (row k, column n; the second one at k +
//   1) C [16, 8],  4 floats:                 (group, 2·pair), (group, 2·pair + 1), (group + 8, 2·pair), (group + 8, 2·pair + 1)
// The first element of a pair is in the low half; its second is the next column (A) or the next row (B).
#pragma once

#include "cuda.h"

namespace cd::cuda {

// Two floats, rounded to bf16, in one register.
__device__ __forceinline__ uint32_t packBFloat16(float low, float high) {
#if defined(CD_EMULATE)
  return toBFloat16(low).bits | static_cast<uint32_t>(toBFloat16(high).bits) << 16;
#else
  uint32_t result;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
#endif
}

// The first or the second of them.
__device__ __forceinline__ float unpackBFloat16(uint32_t pair, int second) {
  return __uint_as_float(second ? pair & 0xffff0000u : pair << 16);
}

#if defined(CD_EMULATE)
namespace emulated {
inline float element(uint32_t pair, int half) { return toFloat(BFloat16{static_cast<uint16_t>(pair >> (16 * half))}); }

struct Mma {
  float* c;
  const uint32_t *a, *b;
};
// Exact products, summed in f32 from k = 0 on. (Tensor cores sum in an order of their own, with a little less precision.)
inline void mma(Mma** lanes) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane / 4, pair = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int part = 0; part < 4; ++part)
        a[group + part % 2 * 8][2 * pair + part / 2 * 8 + half] = element(lanes[lane]->a[part], half);
      for (int part = 0; part < 2; ++part) b[2 * pair + part * 8 + half][group] = element(lanes[lane]->b[part], half);
    }
  }
  for (int row = 0; row < 16; ++row) {
    float sums[8] = {};
    for (int k = 0; k < 16; ++k)
      for (int column = 0; column < 8; ++column) sums[column] += a[row][k] * b[k][column];
    for (int column = 0; column < 8; ++column) lanes[row % 8 * 4 + column / 2]->c[row / 8 * 2 + column % 2] += sums[column];
  }
}

struct LoadMatrix {
  uint32_t* registers;
  const void* row;
};
template <int Count, bool Transposed>
inline void loadMatrix(LoadMatrix** lanes) {
  for (int matrix = 0; matrix < Count; ++matrix)
    for (int lane = 0; lane < 32; ++lane) {
      uint16_t pair[2];
      for (int half = 0; half < 2; ++half) {
        const int row = Transposed ? lane % 4 * 2 + half : lane / 4, column = Transposed ? lane / 4 : lane % 4 * 2 + half;
        pair[half] = static_cast<const uint16_t*>(lanes[matrix * 8 + row]->row)[column];
      }
      lanes[lane]->registers[matrix] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
}

struct Transpose {
  uint32_t given, result;
};
inline void transposeMatrix(Transpose** lanes) {
  const auto at = [&](int row, int column) { return lanes[row * 4 + column / 2]->given >> (16 * (column % 2)) & 0xffffu; };
  for (int lane = 0; lane < 32; ++lane) lanes[lane]->result = at(lane % 4 * 2, lane / 4) | at(lane % 4 * 2 + 1, lane / 4) << 16;
}
}  // namespace emulated
#endif

// c += a · b. All lanes of the warp must call.
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if defined(CD_EMULATE)
  emulated::Mma mine{c, a, b};
  emulation::meet(kAllLanes, mine, emulated::mma, "mma", {__FILE__, __LINE__});
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Loads Count (1, 2 or 4) matrices of 8 × 8 bf16 from shared memory. Lane 8·m + r names row r of matrix m: 16 aligned bytes
// (lanes from 8·Count on may name any valid address). Register m then holds (lane / 4, 2·(lane % 4)) and its right neighbour, or,
// Transposed, (2·(lane % 4), lane / 4) and the one below. All lanes of the warp must call.
//   A of mma from a row-major tile: matrices (0, 0), (8, 0), (0, 8), (8, 8), as they are.
//   B of mma from a tile [n][k]: matrices (n, k), (n, k + 8), as they are; from a tile [k][n]: (k, n), (k + 8, n), Transposed.
template <int Count, bool Transposed = false>
__device__ __forceinline__ void loadMatrix(uint32_t* registers, const BFloat16* row) {
  static_assert(Count == 1 || Count == 2 || Count == 4);
#if defined(CD_EMULATE)
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulation::current->fail("loadMatrix: the row is not aligned to 16 bytes");
  emulated::LoadMatrix mine{registers, row};
  emulation::meet(kAllLanes, mine, emulated::loadMatrix<Count, Transposed>, "loadMatrix", {__FILE__, __LINE__});
#else
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (Count == 1 && !Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(registers[0]) : "r"(address) : "memory");
  else if constexpr (Count == 1)
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(registers[0]) : "r"(address) : "memory");
  else if constexpr (Count == 2 && !Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(address)
                 : "memory");
  else if constexpr (Count == 2)
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(registers[0]), "=r"(registers[1])
                 : "r"(address)
                 : "memory");
  else if constexpr (!Transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(address)
                 : "memory");
#endif
}

// A matrix of 8 × 8 bf16 in registers, (lane / 4, 2·(lane % 4)) and its right neighbour in each, transposed. All lanes must call.
__device__ __forceinline__ uint32_t transposeMatrix(uint32_t pair) {
#if defined(CD_EMULATE)
  emulated::Transpose mine{pair, 0};
  emulation::meet(kAllLanes, mine, emulated::transposeMatrix, "transposeMatrix", {__FILE__, __LINE__});
  return mine.result;
#else
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
#endif
}

}  // namespace cd::cuda
