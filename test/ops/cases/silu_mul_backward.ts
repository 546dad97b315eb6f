import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, shape: number[]) => ({
  gate: input(dtype, shape, normal(1, 3)),
  up: input(dtype, shape, normal(2)),
  dy: input(dtype, shape, normal(3)),
  dGate: output(dtype, shape),
  dUp: output(dtype, shape),
});

export const cases: OpCases = {
  op: 'silu_mul_backward',
  reference({ gate, up, dy, dGate, dUp }) {
    dGate!.magnitude = new Float64Array(dGate!.data.length);
    for (let i = 0; i < dy!.data.length; i += 1) {
      const g = gate!.data[i]!;
      const sigmoid = 1 / (1 + Math.exp(-g));
      const upstream = dy!.data[i]! * up!.data[i]! * sigmoid;
      dUp!.data[i] = dy!.data[i]! * g * sigmoid;
      dGate!.data[i] = upstream * (1 + g * (1 - sigmoid));
      // 1 − σ and the sum cancel.
      dGate!.magnitude[i] = Math.abs(upstream) * (1 + Math.abs(g));
    }
  },
  roundings: { f32: 10 },
  gradient: { forwardOf: 'silu_mul' },
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]) },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]) },
    {
      name: 'in place',
      tensors: {
        ...tensors('f32', [3, 29]),
        dGate: output('f32', [3, 29], { same: 'gate' }),
        dUp: output('f32', [3, 29], { same: 'up' }),
      },
    },
    {
      name: 'views',
      tensors: {
        ...tensors('f32', [5, 17]),
        gate: input('f32', [5, 17], normal(1), { view: 'last' }),
        dGate: output('f32', [5, 17], { view: 'last' }),
        dUp: output('f32', [5, 17], { view: 'last' }),
      },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [0, 8]) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1, 1]) },
  ],
  bad: [
    {
      name: 'dUp of another dtype',
      tensors: { ...tensors('f32', [2, 4]), dUp: output('bf16', [2, 4]) },
      message: "silu_mul_backward: Expected 'dUp' to have the dtype of 'gate', f32 but received bf16",
    },
  ],
};
