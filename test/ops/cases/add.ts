import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (a: DType, b: DType, shape: number[]) => ({
  a: input(a, shape, normal(1)),
  b: input(b, shape, normal(2)),
  y: output(a, shape),
});

export const cases: OpCases = {
  op: 'add',
  reference({ a, b, y }, { scale }) {
    const factor = Math.fround(scale!);
    for (let i = 0; i < y!.data.length; i += 1) y!.data[i] = a!.data[i]! + factor * b!.data[i]!;
  },
  // One fused multiply-add.
  roundings: { f32: 1 },
  gradient: 'through the tape',
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', 'f32', [9, 31]), attributes: { scale: 1 } },
    { name: 'scaled', tensors: tensors('f32', 'f32', [77]), attributes: { scale: -0.3 } },
    { name: 'bf16', tensors: tensors('bf16', 'bf16', [3, 5, 19]), attributes: { scale: 2 } },
    { name: 'bf16 onto f32', tensors: tensors('f32', 'bf16', [9, 31]), attributes: { scale: 1 } },
    { name: 'f32 onto bf16', tensors: tensors('bf16', 'f32', [9, 31]), attributes: { scale: 1 } },
    { name: 'several tasks', tensors: tensors('f32', 'f32', [40_011]), attributes: { scale: 1 } },
    {
      name: 'in place on a',
      tensors: { ...tensors('f32', 'bf16', [9, 31]), y: output('f32', [9, 31], { same: 'a' }) },
      attributes: { scale: 1 },
    },
    {
      name: 'in place on b',
      tensors: { ...tensors('f32', 'f32', [9, 31]), y: output('f32', [9, 31], { same: 'b' }) },
      attributes: { scale: 0.5 },
    },
    {
      name: 'views',
      tensors: {
        a: input('f32', [5, 17], normal(1), { view: 'last' }),
        b: input('bf16', [5, 17], normal(2), { view: 'first' }),
        y: output('f32', [5, 17], { view: 'last' }),
      },
      attributes: { scale: 1 },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('f32', 'f32', [0]), attributes: { scale: 1 } },
    { name: 'one element', kind: 'one', tensors: tensors('f32', 'f32', [1]), attributes: { scale: 1 } },
  ],
  bad: [
    {
      name: 'b of another shape',
      tensors: { ...tensors('f32', 'f32', [4]), b: input('f32', [5], normal(2)) },
      attributes: { scale: 1 },
      message: "add: Expected 'b' to have the shape of 'a', [4] but received [5]",
    },
    {
      name: 'a result of another dtype',
      tensors: { ...tensors('f32', 'f32', [4]), y: output('bf16', [4]) },
      attributes: { scale: 1 },
      message: "add: Expected 'y' to have the dtype of 'a', f32 but received bf16",
    },
  ],
};
