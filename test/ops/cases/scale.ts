import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({ x: input(dtype, shape, normal(1)), y: output(dtype, shape) });

export const cases: OpCases = {
  op: 'scale',
  reference({ x, y }, { value }) {
    for (let i = 0; i < y!.data.length; i += 1) y!.data[i] = Math.fround(value!) * x!.data[i]!;
  },
  roundings: { f32: 1 },
  gradient: { backward: 'scale', arguments: { x: 'dy', y: 'dx' } },
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]), attributes: { value: 1.7 } },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]), attributes: { value: -0.1 } },
    { name: 'several tasks', tensors: tensors('f32', [5, 13_001]), attributes: { value: 3 } },
    {
      name: 'in place',
      tensors: { x: input('f32', [77], normal(1)), y: output('f32', [77], { same: 'x' }) },
      attributes: { value: 0.5 },
    },
    {
      name: 'views',
      tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), y: output('f32', [5, 17], { view: 'first' }) },
      attributes: { value: 2 },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [3, 0]), attributes: { value: 1 } },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]), attributes: { value: 4 } },
  ],
  bad: [
    {
      name: 'whole numbers',
      tensors: { x: input('i32', [2], [1, 2]), y: output('i32', [2]) },
      attributes: { value: 2 },
      message: "scale: Expected 'x' to be f32 or bf16 but received i32",
    },
  ],
};
