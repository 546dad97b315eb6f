import type { DType } from '../../../src/tensor/dtype.js';
import { inout, input, normal } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({
  x: input(dtype, shape, normal(1)),
  acc: inout('f32', [1], [2.5]),
});

export const cases: OpCases = {
  op: 'sum_squares',
  reference({ x, acc }) {
    for (const value of x!.data) acc!.data[0]! += value * value;
  },
  roundings: { f32: 4096 / 32 + 7 },
  gradient: 'not differentiable',
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [70_003]) },
    { name: 'a view', tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), acc: inout('f32', [1], [0]) } },
    { name: 'nothing', kind: 'empty', tensors: tensors('f32', [0]) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]) },
  ],
  bad: [
    {
      name: 'whole numbers',
      tensors: { x: input('u8', [4], [1, 2, 3, 4]), acc: inout('f32', [1], [0]) },
      message: "sum_squares: Expected 'x' to be f32 or bf16 but received u8",
    },
  ],
};
