import { alone } from '../harness/communicators.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

export const cases: OpCases = {
  op: 'reduce_scatter',
  // Over one rank.
  reference({ x, out }) {
    out!.data.set(x!.data);
  },
  roundings: { f32: 0, bf16: 0 },
  gradient: 'not differentiable',
  cases: [
    {
      name: '9×31',
      kind: 'odd',
      tensors: { x: input('f32', [9, 31], normal(1)), out: output('f32', [9, 31]) },
      attributes: alone,
    },
    { name: 'bf16', tensors: { x: input('bf16', [33], normal(1)), out: output('bf16', [33]) }, attributes: alone },
    {
      name: 'i32',
      tensors: { x: input('i32', [3], [2147483647, -1, -2147483648]), out: output('i32', [3]) },
      attributes: alone,
    },
    {
      name: 'rows of larger tensors',
      tensors: {
        x: input('f32', [3, 7], normal(1), { view: 'first' }),
        out: output('f32', [3, 7], { view: 'first' }),
      },
      attributes: alone,
    },
    {
      name: 'nothing',
      kind: 'empty',
      tensors: { x: input('f32', [0], []), out: output('f32', [0]) },
      attributes: alone,
    },
    {
      name: 'one element',
      kind: 'one',
      tensors: { x: input('f32', [1], [3]), out: output('f32', [1]) },
      attributes: alone,
    },
  ],
  bad: [
    {
      name: 'bytes',
      tensors: { x: input('u8', [2], [1, 2]), out: output('u8', [2]) },
      attributes: alone,
      message: "reduce_scatter: Expected 'x' to be f32 or bf16 or i32 but received u8",
    },
    {
      name: 'a result of another size',
      tensors: { x: input('f32', [4], normal(1)), out: output('f32', [3]) },
      attributes: alone,
      message:
        "reduce_scatter: Expected 'x' to have the shape of 'out' times the number of ranks, [3] but received [4]",
    },
  ],
};
