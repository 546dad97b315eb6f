import type { WeightForm } from '../../../src/ops/quantised.js';
import { input, integers, output } from '../harness/data.js';
import { dequantised, quantised } from '../harness/quantised.js';
import type { OpCase, OpCases } from '../harness/types.js';

function numbers(
  name: string,
  form: WeightForm,
  N: number,
  K: number,
  dtype: 'f32' | 'bf16' = 'f32',
  first: Record<string, number> = {},
): OpCase {
  const attributes = { firstRow: 0, firstColumn: 0, ...first };
  return { name, tensors: { ...quantised(form, N, K, attributes), w: output(dtype, [N, K]) }, attributes };
}

const every = (count: number) => Float64Array.from({ length: count }, (_, index) => index % 256);

export const cases: OpCases = {
  op: 'dequantise',
  reference({ weight, scales, w }, attributes) {
    w!.data.set(dequantised(weight!, scales!, w!.shape, attributes, w!.dtype));
  },
  roundings: { f32: 0, bf16: 0 },
  gradient: 'not differentiable',
  cases: [
    { ...numbers('fp8 with one scale, 5×131', 'fp8 tensor', 5, 131), kind: 'odd' },
    numbers('fp8 in blocks, the last ones partial', 'fp8 block', 131, 259),
    numbers('fp8 in blocks, from within one', 'fp8 block', 60, 150, 'f32', { firstRow: 100, firstColumn: 9 }),
    numbers('fp8 in blocks → bf16', 'fp8 block', 9, 140, 'bf16'),
    numbers('mxfp4', 'mxfp4', 7, 77),
    numbers('mxfp4 from an odd column → bf16', 'mxfp4', 7, 77, 'bf16', { firstColumn: 13 }),
    { ...numbers('nothing', 'fp8 block', 0, 7), kind: 'empty' },
    { ...numbers('one number', 'fp8 tensor', 1, 1), kind: 'one' },
    {
      name: 'every code, NaN too',
      tensors: { weight: input('fp8', [4, 64], every), scales: input('f32', [1], [1]), w: output('f32', [4, 64]) },
      attributes: { firstRow: 0, firstColumn: 0 },
    },
    {
      name: 'every exponent, NaN too',
      tensors: {
        weight: input('u8', [255, 16], integers(1, 0, 256)),
        // 2¹²⁷ · 6 is beyond f32: that alone is left out.
        scales: input('u8', [255, 1], (count) => every(count).map((exponent) => (exponent === 254 ? 255 : exponent))),
        w: output('f32', [255, 32]),
      },
      attributes: { firstRow: 0, firstColumn: 0 },
    },
    {
      name: 'views',
      tensors: { ...quantised('mxfp4', 9, 50, {}, { view: 'last' }), w: output('f32', [9, 50], { view: 'last' }) },
      attributes: { firstRow: 0, firstColumn: 0 },
    },
  ],
  bad: [
    {
      name: 'scales of another shape',
      tensors: { ...quantised('fp8 block', 130, 10), scales: input('f32', [1, 1], [1]), w: output('f32', [130, 10]) },
      attributes: { firstRow: 0, firstColumn: 0 },
      message: "dequantise: Expected 'scales' to have shape [2, 1] but received [1, 1]",
    },
    {
      name: 'scales of another dtype',
      tensors: { ...quantised('fp8 tensor', 3, 10), scales: input('bf16', [1], [1]), w: output('f32', [3, 10]) },
      attributes: { firstRow: 0, firstColumn: 0 },
      message: "dequantise: Expected 'scales' to be f32 but received bf16",
    },
    {
      name: 'a first row of mxfp4',
      tensors: { ...quantised('mxfp4', 3, 10), w: output('f32', [3, 10]) },
      attributes: { firstRow: 1, firstColumn: 0 },
      message: "dequantise: Expected 'firstRow' to be 0 for scales that do not go by rows of blocks but received 1",
    },
  ],
};
