import { native } from '../../../src/native.js';
import type { Device } from '../../../src/tensor/device.js';
import { inout, normal } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

let communicators = 0;
/** A communicator of one rank: what several ranks do is tested with several threads, in test/tensor. */
const alone = (device: Device) => {
  communicators += 1;
  return { communicator: native.joinCommunicator(device.id, `ops-${process.pid}-${communicators}`, 0, 1) };
};

export const cases: OpCases = {
  op: 'all_reduce',
  // The sum over one rank.
  reference() {},
  roundings: { f32: 0 },
  gradient: 'not differentiable',
  cases: [
    { name: '9×31', kind: 'odd', tensors: { x: inout('f32', [9, 31], normal(1)) }, attributes: alone },
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
      name: 'bf16',
      tensors: { x: inout('bf16', [4], normal(1)) },
      attributes: { communicator: 0 },
      message: "all_reduce: Expected 'x' to be f32 but received bf16",
    },
  ],
};
