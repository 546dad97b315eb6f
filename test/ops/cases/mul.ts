import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({
  a: input(dtype, shape, normal(1)),
  b: input(dtype, shape, normal(2)),
  y: output(dtype, shape),
});

export const cases: OpCases = {
  op: 'mul',
  reference({ a, b, y }) {
    for (let i = 0; i < y!.data.length; i += 1) y!.data[i] = a!.data[i]! * b!.data[i]!;
  },
  roundings: { f32: 1 },
  gradient: 'through the tape',
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]) },
    { name: 'in place', tensors: { ...tensors('f32', [77]), y: output('f32', [77], { same: 'a' }) } },
    {
      name: 'views',
      tensors: { ...tensors('f32', [5, 17]), a: input('f32', [5, 17], normal(1), { view: 'last' }) },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [3, 0]) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]) },
  ],
  bad: [
    {
      name: 'b of another dtype',
      tensors: { ...tensors('f32', [4]), b: input('bf16', [4], normal(2)) },
      message: "mul: Expected 'b' to have the dtype of 'a', f32 but received bf16",
    },
  ],
};
