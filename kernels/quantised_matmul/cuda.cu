#include "../common/cuda.h"
#include "../common/dispatch.h"
#include "../matmul/cuda_tiles.h"
#include "quantised_matmul.h"

namespace cd::cuda {

// W [lines, length] as the right operand of a product; its tiles are dequantised on their way into shared memory.
struct QuantisedLines {
  QuantisedWeight weight;
  int64_t lines, length;
  bool packs;  // the bytes of every eighth column of a row are aligned to as many as eight columns take

  __device__ __forceinline__ float at(int64_t line, int64_t place) const {
    return weight.number(line, place) * weight.scale(line, place);
  }

  // Eight numbers of a row from `column` on, without their scales.
  __device__ __forceinline__ void numbers(int64_t line, int64_t column, float (&values)[8]) const {
    const uint8_t* const row = weight.weight + line * weight.stride;
    if (weight.form == WeightForm::Mxfp4) {
      const uint32_t nibbles = *reinterpret_cast<const uint32_t*>(row + (weight.firstColumn + column) / 2);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = nibbleToFloat(nibbles >> (4 * i));
    } else {
      const uint2 codes = *reinterpret_cast<const uint2*>(row + column);
#pragma unroll
      for (int i = 0; i < 8; ++i) values[i] = toFloat(Float8{static_cast<uint8_t>((i < 4 ? codes.x : codes.y) >> (i % 4 * 8))});
    }
  }
};

// Eight numbers of a row at a time, rounded to bf16; what lies outside of W becomes 0.
template <bool AcrossK>
__device__ __forceinline__ void fetch(SharedTile<AcrossK>& tile, const QuantisedLines& source, int64_t line, int64_t column) {
  constexpr int kPacks = SharedTile<AcrossK>::kLength / 8;
  for (int index = threadIdx.x; index < SharedTile<AcrossK>::kLines * kPacks; index += kThreads) {
    const int row = index / kPacks, place = index % kPacks * 8;
    const int64_t first = column + place, rest = line + row < source.lines ? source.length - first : 0;
    Pack<BFloat16> pack;
    if (source.packs && rest >= 8 && source.weight.run(first) >= 8) {
      float values[8];
      source.numbers(line + row, first, values);
      const float scale = source.weight.scale(line + row, first);
#pragma unroll
      for (int i = 0; i < 8; ++i) pack.value[i] = toBFloat16(values[i] * scale);
    } else {
      for (int i = 0; i < 8; ++i) pack.value[i] = i < rest ? toBFloat16(source.at(line + row, first + i)) : BFloat16{0};
    }
    storePack(&tile.values[row][place], pack);
  }
}

namespace {
constexpr int kDequantiseThreads = 256;

template <class T>
__global__ void dequantiseRows(QuantisedWeight weight, T* w, int64_t stride, int64_t rows, int64_t columns) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < rows * columns; i += step) {
    const int64_t row = i / columns, column = i % columns;
    w[row * stride + column] = fromFloat<T>(weight.number(row, column) * weight.scale(row, column));
  }
}

QuantisedLines linesOf(const QuantisedWeight& weight, int64_t lines, int64_t length) {
  const int64_t bytes = weight.form == WeightForm::Mxfp4 ? 4 : 8;
  const bool packs = reinterpret_cast<uintptr_t>(weight.weight) % bytes == 0 && weight.stride % bytes == 0 &&
                     (weight.form != WeightForm::Mxfp4 || weight.firstColumn % 8 == 0);
  return {weight, lines, length, packs};
}
}  // namespace

void quantised_matmul(const Call& call) {
  const Tensor &x = call[0], &y = call[3];
  const bool transposed = call.attribute(0) != 0;
  const int64_t M = y.shape[0], inputs = x.shape[1], outputs = y.shape[1];
  const Output output{y.data, y.rowStride, M, outputs, 1, call.attribute(1) != 0, y.dtype == DType::BF16};
  const QuantisedLines w = linesOf(quantisedWeight(call, 1, 2), transposed ? outputs : inputs, transposed ? inputs : outputs);
  if (x.dtype == DType::F32) launchFloat(call, linesOf<float>(x), false, w, !transposed, output, inputs);
  else if (transposed) launchBFloat16<false, false>(call, linesOf<BFloat16>(x), w, output, inputs);
  else launchBFloat16<false, true>(call, linesOf<BFloat16>(x), w, output, inputs);
}

void dequantise(const Call& call) {
  const Tensor& w = call[2];
  withFloat(w.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, blocksFor(w.elements(), kDequantiseThreads), kDequantiseThreads, 0, dequantiseRows<T>,
           quantisedWeight(call, 0, 0), w.as<T>(), w.rowStride, w.shape[0], w.shape[1]);
  });
}

}  // namespace cd::cuda
