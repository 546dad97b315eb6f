#include "../common/cuda.h"
#include "../common/dispatch.h"
#include "../matmul/cuda_matmul.h"
#include "../matmul/cuda_tiles.h"
#include "cuda_hopper.h"
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

  // Eight numbers of a row from `column` on, of which `rest` are there; 0 for the others.
  __device__ __forceinline__ void eight(int64_t line, int64_t column, int64_t rest, float (&values)[8]) const {
    if (!packs || rest < 8 || weight.run(column) < 8) {
      for (int i = 0; i < 8; ++i) values[i] = i < rest ? at(line, column + i) : 0.0f;
      return;
    }
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
    const float scale = weight.scale(line, column);
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] *= scale;
  }
};

// What lies outside of W becomes 0.
template <bool AcrossK>
__device__ __forceinline__ void fetch(SharedTile<AcrossK>& tile, const QuantisedLines& source, int64_t line, int64_t column) {
  constexpr int kPacks = SharedTile<AcrossK>::kLength / 8;
  for (int index = threadIdx.x; index < SharedTile<AcrossK>::kLines * kPacks; index += kThreads) {
    const int row = index / kPacks, place = index % kPacks * 8;
    float values[8];
    source.eight(line + row, column + place, line + row < source.lines ? source.length - column - place : 0, values);
    Pack<BFloat16> pack;
#pragma unroll
    for (int i = 0; i < 8; ++i) pack.value[i] = toBFloat16(values[i]);
    storePack(&tile.values[row][place], pack);
  }
}

namespace {
constexpr int kDequantiseThreads = 256;

template <class T>
__global__ void __launch_bounds__(kDequantiseThreads) dequantiseRows(QuantisedLines source, T* w, int64_t stride, bool packs) {
  const int64_t across = ceilDiv(source.length, 8), step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < source.lines * across; i += step) {
    const int64_t line = i / across, column = i % across * 8, rest = source.length - column;
    float values[8];
    source.eight(line, column, rest, values);
    T* const target = w + line * stride + column;
    constexpr int kPack = Pack<T>::kCount;
    if (packs && rest >= 8) {
#pragma unroll
      for (int from = 0; from < 8; from += kPack) {
        Pack<T> pack;
#pragma unroll
        for (int j = 0; j < kPack; ++j) pack.value[j] = fromFloat<T>(values[from + j]);
        storePack(target + from, pack);
      }
    } else {
      for (int j = 0; j < 8 && j < rest; ++j) target[j] = fromFloat<T>(values[j]);
    }
  }
}

QuantisedLines linesOf(const QuantisedWeight& weight, int64_t lines, int64_t length) {
  const int64_t bytes = weight.form == WeightForm::Mxfp4 ? 4 : 8;
  const bool packs = reinterpret_cast<uintptr_t>(weight.weight) % bytes == 0 && weight.stride % bytes == 0 &&
                     (weight.form != WeightForm::Mxfp4 || weight.firstColumn % 8 == 0);
  return {weight, lines, length, packs};
}

void dequantiseInto(const Call& call, const QuantisedLines& source, const Tensor& w) {
  withFloat(w.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, blocksFor(source.lines * ceilDiv(source.length, 8), kDequantiseThreads), kDequantiseThreads, 0,
           dequantiseRows<T>, source, w.as<T>(), w.rowStride, packable(w));
  });
}

// y = x · W in bf16, for training: so many rows that dequantising W once, into scratch memory, is little beside multiplying it.
void multiplyBack(const Call& call, const QuantisedLines& w) {
  const Tensor &x = call[0], &y = call[3];
  const int64_t stride = ceilDiv(w.length, 8) * 8, bytes = ceilDiv(w.lines * stride * 2, 256) * 256;
  char* const memory = call.scratch<char>(bytes + productScratch(y.shape[0], y.shape[1], x.shape[1]));
  Tensor numbers;
  numbers.data = memory;
  numbers.dtype = DType::BF16;
  numbers.present = true;
  numbers.rank = 2;
  numbers.shape[0] = w.lines;
  numbers.shape[1] = w.length;
  numbers.rowStride = stride;
  dequantiseInto(call, w, numbers);
  multiply(call, {x, numbers, y, false, false, call.attribute(1) != 0}, memory + bytes);
}
}  // namespace

void quantised_matmul(const Call& call) {
  const Tensor &x = call[0], &y = call[3];
  const bool transposed = call.attribute(0) != 0;
  const int64_t inputs = x.shape[1], outputs = y.shape[1];
  const Output output{y.data, y.rowStride, y.shape[0], outputs, 1, call.attribute(1) != 0, y.dtype == DType::BF16};
  const QuantisedWeight weight = quantisedWeight(call, 1, 2);
  const QuantisedLines w = linesOf(weight, transposed ? outputs : inputs, transposed ? inputs : outputs);
  if (x.dtype == DType::F32) launchFloat(call, linesOf<float>(x), false, w, !transposed, output, inputs);
  else if (!transposed) multiplyBack(call, w);
  else if (!quantised::multiplyOnHopper(call, weight, output))
    launchBFloat16<false, false>(call, linesOf<BFloat16>(x), w, output, inputs);
}

void dequantise(const Call& call) {
  const Tensor& w = call[2];
  dequantiseInto(call, linesOf(quantisedWeight(call, 0, 0), w.shape[0], w.shape[1]), w);
}

}  // namespace cd::cuda
