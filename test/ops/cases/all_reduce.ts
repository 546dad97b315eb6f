import { alone } from '../harness/communicators.js';
import { inout, normal } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

export const cases: OpCases = {
  op: 'all_reduce',
  // The sum over one rank.
  reference() {},
  roundings: { f32: 0, bf16: 0 },
  gradient: 'not differentiable',
  cases: [
    { name: '9×31', kind: 'odd', tensors: { x: inout('f32', [9, 31], normal(1)) }, attributes: alone },
    { name: 'bf16', tensors: { x: inout('bf16', [33], normal(1)) }, attributes: alone },
    { name: 'i32', tensors: { x: inout('i32', [5], [1, -2, 3, 2147483647, -2147483648]) }, attributes: alone },
    {
      name: 'rows of a larger tensor',
      tensors: { x: inout('f32', [3, 7], normal(1), { view: 'first' }) },
      attributes: alone,
    },
    { name: 'nothing', kind: 'empty', tensors: { x: inout('f32', [0], []) }, attributes: alone },
    { name: 'one element', kind: 'one', tensors: { x: inout('f32', [1], [3]) }, attributes: alone },
  ],
  bad: [
    {
      name: 'bytes',
      tensors: { x: inout('u8', [4], [1, 2, 3, 4]) },
      attributes: alone,
      message: "all_reduce: Expected 'x' to be f32 or bf16 or i32 but received u8",
    },
    {
      name: 'columns of a larger tensor',
      tensors: { x: inout('f32', [3, 4], normal(1), { view: 'last' }) },
      attributes: alone,
      message: "all_reduce: Expected 'x' to be contiguous but received rows 10 apart",
    },
    {
      name: 'a communicator that the device has not joined',
      tensors: { x: inout('f32', [4], normal(1)) },
      attributes: { communicator: -1 },
      message: "all_reduce: Expected 'communicator' to be one that the device has joined but received -1",
    },
  ],
};
