import type { Device } from '../../../src/tensor/device.js';
import { alone } from '../harness/communicators.js';
import { inout, integers, normal } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const fromRank = (root: number) => (device: Device) => ({ ...alone(device), root });

export const cases: OpCases = {
  op: 'broadcast',
  // From the only rank.
  reference() {},
  roundings: { f32: 0, bf16: 0 },
  gradient: 'not differentiable',
  cases: [
    { name: '9×31', kind: 'odd', tensors: { x: inout('f32', [9, 31], normal(1)) }, attributes: fromRank(0) },
    { name: 'bf16', tensors: { x: inout('bf16', [33], normal(1)) }, attributes: fromRank(0) },
    { name: 'i32', tensors: { x: inout('i32', [7], integers(1, -9, 9)) }, attributes: fromRank(0) },
    {
      name: 'bytes in a larger tensor',
      tensors: { x: inout('u8', [3, 5], integers(1, 0, 256), { view: 'first' }) },
      attributes: fromRank(0),
    },
    { name: 'nothing', kind: 'empty', tensors: { x: inout('f32', [0], []) }, attributes: fromRank(0) },
    { name: 'one element', kind: 'one', tensors: { x: inout('f32', [1], [3]) }, attributes: fromRank(0) },
  ],
  bad: [
    {
      name: 'a rank that is not in the group',
      tensors: { x: inout('f32', [4], normal(1)) },
      attributes: fromRank(1),
      message: "broadcast: Expected 'root' to be a rank from 0 to 0 but received 1",
    },
  ],
};
