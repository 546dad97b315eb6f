import { input, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (sumSquares: number) => ({
  sumSquares: input('f32', [1], [sumSquares]),
  norm: output('f32', [1]),
  factor: output('f32', [1]),
});

export const cases: OpCases = {
  op: 'clip_factor',
  reference({ sumSquares, norm, factor }, { maxNorm }) {
    norm!.data[0] = Math.sqrt(sumSquares!.data[0]!);
    const ratio = maxNorm! / (norm!.data[0]! + 1e-6);
    factor!.data[0] = maxNorm! <= 0 || ratio > 1 ? 1 : ratio;
  },
  roundings: { f32: 4 },
  scalar: true,
  gradient: 'not differentiable',
  cases: [
    { name: 'clips', kind: 'one', tensors: tensors(30.25), attributes: { maxNorm: 1 } },
    { name: 'leaves a small norm alone', tensors: tensors(0.25), attributes: { maxNorm: 1 } },
    { name: 'a norm of zero', tensors: tensors(0), attributes: { maxNorm: 1 } },
    { name: 'no clipping', tensors: tensors(100), attributes: { maxNorm: 0 } },
    { name: 'a norm that is not a number', tensors: tensors(Number.NaN), attributes: { maxNorm: 1 } },
    { name: 'an infinite norm', tensors: tensors(Infinity), attributes: { maxNorm: 1 } },
  ],
  bad: [
    {
      name: 'more than one sum',
      tensors: { ...tensors(1), sumSquares: input('f32', [2], [1, 2]) },
      attributes: { maxNorm: 1 },
      message: "clip_factor: Expected 'sumSquares' to have shape [1] but received [2]",
    },
  ],
};
