// Products with a weight W [N, K] that stays as its checkpoint stores it, and what it stands for.
//
// Forms, told by the dtypes and shapes of `weight` and `scales`:
//   fp8, one scale      weight fp8 [N, K], scales f32 [1]: q · scale
//   fp8, blocks         weight fp8 [N, K], scales f32 [⌈(firstRow + N) / 128⌉, ⌈(firstColumn + K) / 128⌉]: q · its block's scale
//   mxfp4               weight u8 [N, 16·B], scales u8 [N, B], B = ⌈(firstColumn + K) / 32⌉: q · 2^(scale − 127) (Rouhani et al.
//   2023, "OCP
//                       microscaling formats"; scale 255 is NaN). Two numbers to a byte, the low half first: sign, then
//                       0, ½, 1, 1½, 2, 3, 4, 6.
//   attributes firstRow, firstColumn: where W begins in its first block, which for a rank's part of a weight may be in the
//   middle: 0 … 127; with mxfp4 firstRow is 0 and firstColumn 0 … 31; both 0 with one scale. weight and scales have whole rows,
//   any stride.
//
// quantised_matmul   x [M, K] → y = x · Wᵀ [M, N] with transposed 1; x [M, N] → y = x · W [M, K] with transposed 0, which is the
//   gradient of the former with respect to its input. x and y f32|bf16. y is overwritten (and never read) without accumulate 1,
//   and added to with it. y shares no memory with the others. Numbers of W are q · scale in f32, rounded to x's dtype. On the CPU
//   the result has the bits of matmul with that W, on GPUs it differs from it by the order of summation, which is one for every
//   M.
// dequantise   → w = W [N, K] f32|bf16, overwritten: q · scale in f32, rounded to w's dtype.
#pragma once

#include "../common/fp8.h"

namespace cd {

constexpr int kScaleBlock = 128;  // rows and columns of fp8 that share a scale
constexpr int kNibbleBlock = 32;  // columns of mxfp4 that do

enum class WeightForm { Fp8Tensor, Fp8Block, Mxfp4 };

// A number of four bits, times 2⁻¹²⁶ to be where f32 has its bits, exactly.
CD_HOST_DEVICE inline float nibbleToFloat(uint32_t nibble) {
  const uint32_t magnitude = (nibble & 7u) << 22, sign = (nibble & 8u) << 28;
  float number;
  __builtin_memcpy(&number, &magnitude, 4);
  number *= 0x1p126f;
  uint32_t bits;
  __builtin_memcpy(&bits, &number, 4);
  bits |= sign;
  __builtin_memcpy(&number, &bits, 4);
  return number;
}
// 2^(scale − 127).
CD_HOST_DEVICE inline float exponentScale(uint8_t scale) {
  const uint32_t bits = scale == 255 ? 0x7fc00000u : scale == 0 ? 0x00400000u : static_cast<uint32_t>(scale) << 23;
  float number;
  __builtin_memcpy(&number, &bits, 4);
  return number;
}

// W, on the CPU and on GPUs.
struct QuantisedWeight {
  const uint8_t* weight;
  const void* scales;
  int64_t stride, scaleStride;  // of rows, in bytes and in scales
  int64_t firstRow, firstColumn;
  WeightForm form;

  // The scale of the block that (row, column) lies in.
  CD_HOST_DEVICE float scale(int64_t row, int64_t column) const {
    if (form == WeightForm::Fp8Tensor) return *static_cast<const float*>(scales);
    if (form == WeightForm::Mxfp4)
      return exponentScale(static_cast<const uint8_t*>(scales)[row * scaleStride + (firstColumn + column) / kNibbleBlock]);
    return static_cast<const float*>(scales)[(firstRow + row) / kScaleBlock * scaleStride + (firstColumn + column) / kScaleBlock];
  }
  // Columns from `column` on that share its scale.
  CD_HOST_DEVICE int64_t run(int64_t column) const {
    if (form == WeightForm::Fp8Tensor) return int64_t{1} << 62;
    const int64_t block = form == WeightForm::Mxfp4 ? kNibbleBlock : kScaleBlock;
    return block - (firstColumn + column) % block;
  }
  // The number without its scale.
  CD_HOST_DEVICE float number(int64_t row, int64_t column) const {
    const uint8_t* const numbers = weight + row * stride;
    if (form != WeightForm::Mxfp4) return toFloat(Float8{numbers[column]});
    const int64_t place = firstColumn + column;
    return nibbleToFloat(numbers[place / 2] >> (place % 2 * 4));
  }
};

// The arguments of an operation that has weight and scales at `index` and firstRow and firstColumn at `attribute`.
inline QuantisedWeight quantisedWeight(const Call& call, int index, int attribute) {
  const Tensor &weight = call[index], &scales = call[index + 1];
  const WeightForm form = weight.dtype == DType::U8 ? WeightForm::Mxfp4
                          : scales.rank == 1        ? WeightForm::Fp8Tensor
                                                    : WeightForm::Fp8Block;
  return {weight.as<const uint8_t>(),
          scales.data,
          weight.rowStride,
          scales.rowStride,
          static_cast<int64_t>(call.attribute(attribute)),
          static_cast<int64_t>(call.attribute(attribute + 1)),
          form};
}

}  // namespace cd
