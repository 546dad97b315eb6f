import { output } from '../harness/data.js';
import { nearestFp8 } from '../harness/fp8.js';
import type { OpCases } from '../harness/types.js';

export const cases: OpCases = {
  op: 'fill',
  reference({ y }, { value }) {
    y!.data.fill(y!.dtype === 'fp8' ? nearestFp8(value!) : value!);
  },
  roundings: { f32: 1 },
  gradient: 'not differentiable',
  cases: [
    { name: '3×37 f32', kind: 'odd', tensors: { y: output('f32', [3, 37]) }, attributes: { value: 3 } },
    { name: 'rounded to bf16', tensors: { y: output('bf16', [129]) }, attributes: { value: -1 / 3 } },
    { name: 'i32', tensors: { y: output('i32', [5, 3, 7]) }, attributes: { value: -2147483647 } },
    { name: 'u8', tensors: { y: output('u8', [1001]) }, attributes: { value: 255 } },
    { name: 'fp8', tensors: { y: output('fp8', [33]) }, attributes: { value: -0.3 } },
    { name: 'NaN', tensors: { y: output('f32', [17]) }, attributes: { value: Number.NaN } },
    { name: 'several tasks', tensors: { y: output('u8', [40_001]) }, attributes: { value: 7 } },
    {
      name: 'view of columns',
      tensors: { y: output('f32', [6, 9], { view: 'last' }) },
      attributes: { value: 2 },
    },
    { name: 'view of rows', tensors: { y: output('i32', [6, 9], { view: 'first' }) }, attributes: { value: 2 } },
    { name: 'nothing', kind: 'empty', tensors: { y: output('f32', [0, 8]) }, attributes: { value: 1 } },
    { name: 'one element', kind: 'one', tensors: { y: output('f32', [1]) }, attributes: { value: 1 } },
  ],
  bad: [
    {
      name: 'a fraction for whole numbers',
      tensors: { y: output('i32', [3]) },
      attributes: { value: 0.5 },
      message: "fill: Expected 'value' to be a whole number within ±2147483647 but received 0.5",
    },
    {
      name: 'a byte out of range',
      tensors: { y: output('u8', [3]) },
      attributes: { value: 256 },
      message: "fill: Expected 'value' to be a whole number in [0, 255] but received 256",
    },
  ],
};
