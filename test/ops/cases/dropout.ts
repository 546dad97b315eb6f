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
const plain = (columns: number) => ({ p: 0.3, seed: 1234, purpose: 5, step: 6, offset: 0, columns });

export const cases: OpCases = {
  op: 'dropout',
  reference({ x, y }, { p, seed, purpose, step, offset, columns }) {
    const width = x!.shape.at(-1)!;
    for (let i = 0; i < x!.data.length; i += 1) {
      const index = offset! + Math.floor(i / width) * columns! + (i % width);
      const kept = uniform24(seed!, purpose!, step!, index) >= p!;
      y!.data[i] = kept ? x!.data[i]! / (1 - p!) : 0;
    }
  },
  roundings: { f32: 2 },
  gradient: { backward: 'dropout', arguments: { x: 'dy', y: 'dx' } },
  cases: [
    { name: '9×31 f32', kind: 'odd', tensors: tensors('f32', [9, 31]), attributes: plain(31) },
    { name: 'bf16', tensors: tensors('bf16', [2, 3, 45]), attributes: { ...plain(45), p: 0.05 } },
    { name: 'p = 0 keeps everything', tensors: tensors('f32', [100]), attributes: { ...plain(100), p: 0 } },
    { name: 'several tasks', tensors: tensors('f32', [3, 13_001]), attributes: plain(13_001) },
    { name: 'an offset within a block', tensors: tensors('f32', [151]), attributes: { ...plain(151), offset: 7 } },
    {
      name: 'large numbers everywhere',
      tensors: tensors('f32', [151]),
      attributes: {
        p: 0.5,
        seed: 2 ** 53 - 1,
        purpose: 2 ** 32 - 1,
        step: 2 ** 32 - 2,
        offset: 2 ** 34 + 3,
        columns: 151,
      },
    },
    {
      name: 'blocks beyond 32 bits',
      tensors: tensors('f32', [77]),
      attributes: { ...plain(77), offset: 2 ** 34 - 30 },
    },
    {
      name: 'in place',
      tensors: { x: input('f32', [77], normal(1)), y: output('f32', [77], { same: 'x' }) },
      attributes: plain(77),
    },
    {
      name: 'views count their own elements',
      tensors: { x: input('f32', [5, 17], normal(1), { view: 'last' }), y: output('f32', [5, 17], { view: 'first' }) },
      attributes: plain(17),
    },
    {
      name: 'columns 5 to 17 of 31',
      tensors: tensors('f32', [7, 13]),
      attributes: { ...plain(31), offset: 5 },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors('bf16', [3, 0]), attributes: plain(0) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', [1]), attributes: plain(1) },
  ],
  bad: [
    {
      name: 'p = 1',
      tensors: tensors('f32', [4]),
      attributes: { ...plain(4), p: 1 },
      message: "dropout: Expected 'p' to be in [0, 1) but received 1",
    },
    {
      name: 'a negative step',
      tensors: tensors('f32', [4]),
      attributes: { ...plain(4), step: -1 },
      message: "dropout: Expected 'step' to be a whole number below 2^32 but received -1",
    },
    {
      name: 'a seed that is no whole number',
      tensors: tensors('f32', [4]),
      attributes: { ...plain(4), seed: 0.5 },
      message: "dropout: Expected 'seed' to be a whole number below 2^53 but received 0.5",
    },
    {
      name: 'fewer columns than x has',
      tensors: tensors('f32', [4]),
      attributes: plain(3),
      message: "dropout: Expected 'columns' to be at least the columns of 'x' but received 3",
    },
  ],
};
