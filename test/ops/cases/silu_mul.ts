import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({
  gate: input(dtype, shape, normal(1, 3)),
  up: input(dtype, shape, normal(2)),
  y: output(dtype, shape),
});

export const cases: OpCases = {
  op: 'silu_mul',
  reference({ gate, up, y }) {
    for (let i = 0; i < y!.data.length; i += 1)
      y!.data[i] = (gate!.data[i]! / (1 + Math.exp(-gate!.data[i]!))) * up!.data[i]!;
  },
  // exp is good to 2 roundings; then 1 + …, 1 / …, and two products.
  roundings: { f32: 6 },
  gradient: { backward: 'silu_mul_backward' },
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]) },
    {
      name: 'gates far out',
      smooth: false,
      tensors: { ...tensors('f32', [6]), gate: input('f32', [6], [0, -0, -80, 80, 1e-20, 3e30]) },
    },
    {
      name: 'the halves of one tensor',
      tensors: {
        gate: input('f32', [5, 17], normal(1), { view: 'last' }),
        up: input('f32', [5, 17], normal(2), { view: 'last' }),
        y: output('f32', [5, 17]),
      },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [0, 8]) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1, 1]) },
  ],
  bad: [
    {
      name: 'up of another shape',
      tensors: { ...tensors('f32', [2, 4]), up: input('f32', [2, 5], normal(2)) },
      message: "silu_mul: Expected 'up' to have the shape of 'gate', [2, 4] but received [2, 5]",
    },
  ],
};
