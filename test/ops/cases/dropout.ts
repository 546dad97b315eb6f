import type { DType } from '../../../src/tensor/dtype.js';
import { philox4x32 } from '../../../src/training/philox.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

/** Draw `index` of the stream, from the host's Philox, which has a test with the published answers of its own. */
function uniform24(seed: number, purpose: number, step: number, index: number): number {
  const block = Math.floor(index / 4);
  const counter = [block >>> 0, Math.floor(block / 2 ** 32), step, purpose] as const;
  return (philox4x32(counter, [seed >>> 0, Math.floor(seed / 2 ** 32)])[index % 4]! >>> 8) / 2 ** 24;
}

const tensors = (dtype: DType, shape: number[]) => ({ x: input(dtype, shape, normal(1)), y: output(dtype, shape) });
const plain = { p: 0.3, seed: 1234, purpose: 5, step: 6, offset: 0 };

export const cases: OpCases = {
  op: 'dropout',
  reference({ x, y }, { p, seed, purpose, step, offset }) {
    for (let i = 0; i < x!.data.length; i += 1) {
      const kept = uniform24(seed!, purpose!, step!, offset! + i) >= p!;
      y!.data[i] = kept ? x!.data[i]! / (1 - p!) : 0;
    }
  },
  roundings: { f32: 2 },
  gradient: { backward: 'dropout', arguments: { x: 'dy', y: 'dx' } },
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]), attributes: plain },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]), attributes: { ...plain, p: 0.05 } },
    { name: 'p = 0 keeps everything', tensors: tensors('f32', [100]), attributes: { ...plain, p: 0 } },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]), attributes: plain },
    { name: 'an offset within a block', tensors: tensors('f32', [151]), attributes: { ...plain, offset: 7 } },
    {
      name: 'large numbers everywhere',
      tensors: tensors('f32', [151]),
      attributes: { p: 0.5, seed: 2 ** 53 - 1, purpose: 2 ** 32 - 1, step: 2 ** 32 - 2, offset: 2 ** 34 + 3 },
    },
    { name: 'blocks beyond 32 bits', tensors: tensors('f32', [77]), attributes: { ...plain, offset: 2 ** 34 - 30 } },
    {
      name: 'in place',
      tensors: { x: input('f32', [77], normal(1)), y: output('f32', [77], { same: 'x' }) },
      attributes: plain,
    },
    {
      name: 'views count their own elements',
      tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), y: output('f32', [5, 17], { view: 'first' }) },
      attributes: plain,
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [3, 0]), attributes: plain },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]), attributes: plain },
  ],
  bad: [
    {
      name: 'p = 1',
      tensors: tensors('f32', [4]),
      attributes: { ...plain, p: 1 },
      message: "dropout: Expected 'p' to be in [0, 1) but received 1",
    },
    {
      name: 'a negative step',
      tensors: tensors('f32', [4]),
      attributes: { ...plain, step: -1 },
      message: "dropout: Expected 'step' to be a whole number below 2^32 but received -1",
    },
    {
      name: 'a seed that is no whole number',
      tensors: tensors('f32', [4]),
      attributes: { ...plain, seed: 0.5 },
      message: "dropout: Expected 'seed' to be a whole number below 2^53 but received 0.5",
    },
  ],
};
