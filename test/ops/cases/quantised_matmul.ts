import type { WeightForm } from '../../../src/ops/quantised.js';
import { inout, input, normal, output } from '../harness/data.js';
import { dequantised, quantised } from '../harness/quantised.js';
import type { OpCase, OpCases, TensorSpec } from '../harness/types.js';

interface Options {
  dtype?: 'f32' | 'bf16';
  result?: 'f32' | 'bf16';
  back?: boolean;
  accumulate?: boolean;
  first?: Record<string, number>;
  view?: Partial<TensorSpec>;
}

function product(name: string, form: WeightForm, M: number, N: number, K: number, options: Options = {}): OpCase {
  const { dtype = 'f32', result = dtype, back = false, accumulate = false, first = {}, view = {} } = options;
  const attributes = { transposed: +!back, accumulate: +accumulate, firstRow: 0, firstColumn: 0, ...first };
  const shape = [M, back ? K : N];
  return {
    name,
    tensors: {
      x: input(dtype, [M, back ? N : K], normal(1), view),
      ...quantised(form, N, K, attributes, view),
      y: accumulate ? inout(result, shape, normal(3), view) : output(result, shape, view),
    },
    attributes,
  };
}

export const cases: OpCases = {
  op: 'quantised_matmul',
  reference({ x, weight, scales, y }, attributes) {
    const [M, columns] = y!.shape as [number, number];
    const inner = x!.shape[1]!;
    const back = attributes.transposed === 0;
    const [N, K] = back ? [inner, columns] : [columns, inner];
    const w = dequantised(weight!, scales!, [N, K], attributes, x!.dtype);
    y!.magnitude = new Float64Array(M * columns);
    for (let i = 0; i < M; i += 1)
      for (let j = 0; j < columns; j += 1) {
        let sum = attributes.accumulate ? y!.data[i * columns + j]! : 0;
        let magnitude = Math.abs(sum);
        for (let k = 0; k < inner; k += 1) {
          const term = x!.data[i * inner + k]! * w[back ? k * K + j : j * K + k]!;
          sum += term;
          magnitude += Math.abs(term);
        }
        y!.data[i * columns + j] = sum;
        y!.magnitude[i * columns + j] = magnitude;
      }
  },
  // As of matmul.
  roundings: { f32: 30 },
  gradient: 'through the tape',
  cases: [
    { ...product('7×131×67, one scale', 'fp8 tensor', 7, 131, 67), kind: 'odd' },
    product('blocks, the last ones partial', 'fp8 block', 9, 131, 259),
    product('blocks, back', 'fp8 block', 9, 131, 259, { back: true }),
    product('blocks from within one, bf16', 'fp8 block', 5, 60, 150, {
      dtype: 'bf16',
      first: { firstRow: 100, firstColumn: 9 },
    }),
    product('blocks from within one, back, bf16 → f32', 'fp8 block', 5, 60, 150, {
      dtype: 'bf16',
      result: 'f32',
      back: true,
      first: { firstRow: 100, firstColumn: 9 },
    }),
    product('more than one block of K, bf16', 'fp8 block', 11, 35, 1071, { dtype: 'bf16' }),
    product('mxfp4', 'mxfp4', 7, 37, 77),
    product('mxfp4, back', 'mxfp4', 7, 37, 77, { back: true }),
    product('mxfp4 from an odd column, bf16', 'mxfp4', 7, 37, 77, { dtype: 'bf16', first: { firstColumn: 13 } }),
    product('more rows than stay in the cache', 'mxfp4', 300, 9, 45, { dtype: 'bf16' }),
    product('accumulated', 'fp8 tensor', 6, 50, 20, { accumulate: true }),
    product('accumulated into f32, back', 'mxfp4', 6, 50, 33, {
      dtype: 'bf16',
      result: 'f32',
      back: true,
      accumulate: true,
    }),
    product('views', 'fp8 block', 13, 35, 21, { view: { view: 'last' } }),
    { ...product('no rows', 'mxfp4', 0, 5, 3), kind: 'empty' },
    product('no columns', 'fp8 block', 3, 0, 5),
    product('nothing to sum gives 0', 'fp8 block', 3, 5, 0),
    { ...product('one element', 'fp8 tensor', 1, 1, 1), kind: 'one' },
  ],
  bad: [
    {
      name: 'a weight of other inputs',
      tensors: { ...product('', 'fp8 tensor', 2, 4, 3).tensors, ...quantised('fp8 tensor', 4, 5) },
      attributes: { transposed: 1, accumulate: 0, firstRow: 0, firstColumn: 0 },
      message: "quantised_matmul: Expected 'weight' to have shape [4, 3] but received [4, 5]",
    },
    {
      name: 'a weight that is not quantised',
      tensors: { ...product('', 'fp8 tensor', 2, 4, 3).tensors, weight: input('bf16', [4, 3], normal(1)) },
      attributes: { transposed: 1, accumulate: 0, firstRow: 0, firstColumn: 0 },
      message: "quantised_matmul: Expected 'weight' to be fp8 or u8 but received bf16",
    },
    {
      name: 'a first column beyond a block',
      tensors: product('', 'mxfp4', 2, 4, 3).tensors,
      attributes: { transposed: 1, accumulate: 0, firstRow: 0, firstColumn: 32 },
      message: "quantised_matmul: Expected 'firstColumn' to be a whole number in [0, 31] but received 32",
    },
    {
      name: 'y of another shape',
      tensors: { ...product('', 'fp8 tensor', 2, 4, 3).tensors, y: output('f32', [3, 4]) },
      attributes: { transposed: 1, accumulate: 0, firstRow: 0, firstColumn: 0 },
      message: "quantised_matmul: Expected 'y' to have shape [2, 4] but received [3, 4]",
    },
  ],
};
