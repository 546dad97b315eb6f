/** Quantised weights by their definition, in f64. */
import { scaleBlocks, type WeightForm } from '../../../src/ops/quantised.js';
import type { DType } from '../../../src/tensor/dtype.js';
import { input, integers, roundTo, uniform } from './data.js';
import { fp8Numbers } from './fp8.js';
import type { TensorSpec } from './types.js';

const nibbleNumbers = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

type Stored = Pick<TensorSpec, 'dtype' | 'shape'> & { data: ArrayLike<number> };

/** W [N, K], from (row, column) of its first block on, rounded to `dtype`. */
export function dequantised(
  weight: Stored,
  scales: Stored,
  [N, K]: readonly number[],
  { firstRow = 0, firstColumn = 0 }: Record<string, number>,
  dtype: DType,
): Float64Array {
  const across = scales.shape.at(-1)!;
  return Float64Array.from({ length: N! * K! }, (_, index) => {
    const [row, column] = [Math.floor(index / K!), index % K!];
    const product = () => {
      if (weight.dtype === 'u8') {
        const place = firstColumn + column;
        const nibble = (weight.data[row * weight.shape[1]! + (place >> 1)]! >> ((place % 2) * 4)) & 15;
        const exponent = scales.data[row * across + Math.floor(place / 32)]!;
        return (
          (nibble < 8 ? 1 : -1) * nibbleNumbers[nibble % 8]! * (exponent === 255 ? Number.NaN : 2 ** (exponent - 127))
        );
      }
      const block = Math.floor((firstRow + row) / 128) * across + Math.floor((firstColumn + column) / 128);
      return fp8Numbers[weight.data[index]!]! * scales.data[scales.shape.length === 1 ? 0 : block]!;
    };
    return roundTo(dtype, Math.fround(product()));
  });
}

/** Random arguments for a weight [N, K]. */
export function quantised(
  form: WeightForm,
  N: number,
  K: number,
  { firstRow = 0, firstColumn = 0 }: Record<string, number> = {},
  options: Partial<TensorSpec> = {},
): { weight: TensorSpec; scales: TensorSpec } {
  const numbers = (count: number) => integers(7, 0, 254)(count).map((code) => (code < 127 ? code : code + 1));
  if (form === 'mxfp4') {
    const blocks = Math.ceil((firstColumn + K) / scaleBlocks.mxfp4[1]);
    return {
      weight: input('u8', [N, 16 * blocks], integers(5, 0, 256), options),
      scales: input('u8', [N, blocks], integers(6, 122, 127), options),
    };
  }
  const weight = input('fp8', [N, K], numbers, options);
  if (form === 'fp8 tensor') return { weight, scales: input('f32', [1], [0.0061]) };
  const [rows, columns] = scaleBlocks['fp8 block'];
  const shape = [Math.ceil((firstRow + N) / rows), Math.ceil((firstColumn + K) / columns)];
  return { weight, scales: input('f32', shape, uniform(8, 0.003, 0.009), options) };
}
