import type { DType } from '../../../src/tensor/dtype.js';
import { constant, input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({ x: input(dtype, shape, normal(1)), y: output('f32', [1]) });

export const cases: OpCases = {
  op: 'sum',
  reference({ x, y }) {
    y!.data[0] = x!.data.reduce((total, value) => total + value, 0);
    y!.magnitude = Float64Array.of(x!.data.reduce((total, value) => total + Math.abs(value), 0));
  },
  // A lane adds at most 4096 / 32 values one after the other (8 lanes, 4 vectors), then a tree; runs are added in f64.
  roundings: { f32: 4096 / 32 + 6 },
  gradient: 'through the tape',
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [70_003]) },
    { name: 'many equal values', tensors: { x: input('f32', [1 << 20], constant(0.1)), y: output('f32', [1]) } },
    {
      name: 'a view of columns',
      tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), y: output('f32', [1]) },
    },
    { name: 'a NaN', tensors: { x: input('f32', [3], [1, Number.NaN, 2]), y: output('f32', [1]) } },
    { name: 'nothing', kind: 'empty', tensors: tensors('f32', [3, 0]) },
    { name: 'one element', kind: 'one', tensors: tensors('bf16', [1]) },
  ],
  bad: [
    {
      name: 'a result of more than one element',
      tensors: { x: input('f32', [4], normal(1)), y: output('f32', [2]) },
      message: "sum: Expected 'y' to have shape [1] but received [2]",
    },
  ],
};
