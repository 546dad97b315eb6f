import { alone } from '../harness/communicators.js';
import { input, integers, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

export const cases: OpCases = {
  op: 'all_gather',
  // Of one rank.
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
      tensors: { x: input('i32', [7], integers(1, -9, 9)), out: output('i32', [7]) },
      attributes: alone,
    },
    {
      name: 'bytes, into rows of a larger tensor',
      tensors: { x: input('u8', [3, 5], integers(1, 0, 256)), out: output('u8', [3, 5], { view: 'first' }) },
      attributes: alone,
    },
    {
      name: 'nothing',
      kind: 'empty',
      tensors: { x: input('f32', [0, 3], []), out: output('f32', [0, 3]) },
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
      name: 'a result of another size',
      tensors: { x: input('f32', [4, 2], normal(1)), out: output('f32', [8, 2]) },
      attributes: alone,
      message:
        "all_gather: Expected 'out' to have the shape of 'x' times the number of ranks, [4, 2] but received [8, 2]",
    },
    {
      name: 'a number',
      tensors: { x: input('f32', [], [1]), out: output('f32', [1]) },
      attributes: alone,
      message: "all_gather: Expected 'x' to have at least one dimension but received []",
    },
  ],
};
