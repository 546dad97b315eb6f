import type { DType } from '../../../src/tensor/dtype.js';
import { input, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

/** Cosines and sines of arbitrary angles. */
const table = (T: number, R: number) =>
  input('f32', [T, R], (count) => {
    const angles = normal(9)(count);
    return angles.map((angle, index) => (index % R < R / 2 ? Math.cos(angle) : Math.sin(angles[index - R / 2]!)));
  });
const tensors = (dtype: DType, T: number, H: number, D: number, R = D) => ({
  x: input(dtype, [T, H, D], normal(1)),
  cosSin: table(T, R),
  y: output(dtype, [T, H, D]),
});
const forward = { direction: 1 };

export const cases: OpCases = {
  op: 'rotary',
  reference({ x, cosSin, y }, { direction }) {
    const [, H, D] = x!.shape as [number, number, number];
    const R = cosSin!.shape[1]!;
    y!.data.set(x!.data);
    y!.magnitude = x!.data.map(Math.abs);
    for (let row = 0; row < x!.data.length / D; row += 1)
      for (let j = 0; j < R / 2; j += 1) {
        const at = row * D + j;
        const [x1, x2] = [x!.data[at]!, x!.data[at + R / 2]!];
        const cosine = cosSin!.data[Math.floor(row / H) * R + j]!;
        const sine = cosSin!.data[Math.floor(row / H) * R + R / 2 + j]! * direction!;
        y!.data[at] = x1 * cosine - x2 * sine;
        y!.data[at + R / 2] = x2 * cosine + x1 * sine;
        y!.magnitude[at] = Math.abs(x1 * cosine) + Math.abs(x2 * sine);
        y!.magnitude[at + R / 2] = Math.abs(x2 * cosine) + Math.abs(x1 * sine);
      }
  },
  roundings: { f32: 2 },
  gradient: {
    backward: 'rotary',
    arguments: { x: 'dy', y: 'dx' },
    attributes: ({ direction }) => ({ direction: -direction! }),
  },
  cases: [
    { name: '11 tokens, 3 heads of 18', kind: 'odd', tensors: tensors('f32', 11, 3, 18), attributes: forward },
    { name: 'backwards', tensors: tensors('f32', 11, 3, 64), attributes: { direction: -1 } },
    { name: 'bf16', tensors: tensors('bf16', 7, 2, 64), attributes: forward },
    { name: 'part of the dimensions', tensors: tensors('f32', 3, 2, 37, 10), attributes: forward },
    { name: 'no dimension turns', tensors: tensors('f32', 3, 2, 5, 0), attributes: forward },
    { name: 'several tasks', tensors: tensors('f32', 131, 9, 64), attributes: forward },
    {
      name: 'in place',
      tensors: { ...tensors('bf16', 5, 3, 38, 34), y: output('bf16', [5, 3, 38], { same: 'x' }) },
      attributes: forward,
    },
    {
      name: 'views',
      tensors: {
        ...tensors('f32', 5, 3, 20, 16),
        x: input('f32', [5, 3, 20], normal(1), { view: 'last' }),
        y: output('f32', [5, 3, 20], { view: 'first' }),
      },
      attributes: forward,
    },
    { name: 'no tokens', kind: 'empty', tensors: tensors('f32', 0, 2, 8), attributes: forward },
    { name: 'one element', kind: 'one', tensors: tensors('f32', 1, 1, 1, 0), attributes: forward },
  ],
  bad: [
    {
      name: 'a table for other tokens',
      tensors: { ...tensors('f32', 3, 2, 8), cosSin: table(4, 8) },
      attributes: forward,
      message: "rotary: Expected 'cosSin' to have shape [3, R], R even and at most 8 but received [4, 8]",
    },
    {
      name: 'an odd number of turning dimensions',
      tensors: { ...tensors('f32', 3, 2, 8), cosSin: input('f32', [3, 7], normal(1)) },
      attributes: forward,
      message: "rotary: Expected 'cosSin' to have shape [3, R], R even and at most 8 but received [3, 7]",
    },
    {
      name: 'a direction of 2',
      tensors: tensors('f32', 3, 2, 8),
      attributes: { direction: 2 },
      message: "rotary: Expected 'direction' to be 1 or -1 but received 2",
    },
  ],
};
