import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({ x: input(dtype, shape, normal(1, 3)), y: output(dtype, shape) });

export const cases: OpCases = {
  op: 'exp',
  reference({ x, y }) {
    for (let i = 0; i < y!.data.length; i += 1) y!.data[i] = Math.exp(x!.data[i]!);
  },
  // The series stops at r⁷/5040 with r ≤ ln 2 / 2: two roundings, and as many on the way.
  roundings: { f32: 4 },
  gradient: 'through the tape',
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]) },
    { name: 'in place', tensors: { x: input('f32', [77], normal(1)), y: output('f32', [77], { same: 'x' }) } },
    {
      name: 'views',
      tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), y: output('f32', [5, 17], { view: 'first' }) },
    },
    {
      name: 'far out',
      smooth: false,
      tensors: {
        x: input('f32', [6], [0, -0, 88, -87, 1e-20, Number.NEGATIVE_INFINITY]),
        y: output('f32', [6]),
      },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [3, 0]) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]) },
  ],
  bad: [
    {
      name: 'y of another dtype',
      tensors: { ...tensors('f32', [4]), y: output('bf16', [4]) },
      message: "exp: Expected 'y' to have the dtype of 'x', f32 but received bf16",
    },
  ],
};
