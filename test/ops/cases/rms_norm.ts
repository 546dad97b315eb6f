import { constant, input, normal, output } from '../harness/data.js';
import type { OpCases, References } from '../harness/types.js';

export function reference({ x, weight, y, invRms }: References, { eps }: Record<string, number>): void {
  const E = x!.shape.at(-1)!;
  for (let t = 0; t < invRms!.data.length; t += 1) {
    let squares = 0;
    for (let i = 0; i < E; i += 1) squares += x!.data[t * E + i]! ** 2;
    const r = 1 / Math.sqrt(squares / E + eps!);
    invRms!.data[t] = r;
    for (let i = 0; i < E; i += 1) y!.data[t * E + i] = x!.data[t * E + i]! * r * weight!.data[i]!;
  }
}

const shapes = (dtype: 'f32' | 'bf16', T: number, E: number) => ({
  x: input(dtype, [T, E], normal(1)),
  weight: input(dtype, [E], normal(2)),
  y: output(dtype, [T, E]),
  invRms: output('f32', [T]),
});

export const cases: OpCases = {
  op: 'rms_norm',
  reference,
  // Squares are positive, so their sum is off by at most the roundings along one lane: E/16 + 6 of them, halved by the root.
  roundings: { f32: 40 },
  gradient: { backward: 'rms_norm_backward' },
  cases: [
    { name: '7×131 f32', kind: 'odd', tensors: shapes('f32', 7, 131), attributes: { eps: 1e-6 } },
    // The normalised row is rounded to bf16 before it meets the weight.
    { name: '67×45 bf16', tensors: shapes('bf16', 67, 45), attributes: { eps: 1e-5 }, roundings: { f32: 40, bf16: 2 } },
    { name: 'no rows', kind: 'empty', tensors: shapes('f32', 0, 16), attributes: { eps: 1e-6 } },
    { name: 'one element', kind: 'one', tensors: shapes('f32', 1, 1), attributes: { eps: 1e-6 } },
    {
      name: '3×2×37, rank 3',
      tensors: { ...shapes('f32', 6, 37), x: input('f32', [3, 2, 37], normal(1)), y: output('f32', [3, 2, 37]) },
      attributes: { eps: 1e-6 },
    },
    {
      name: 'views along the last dimension',
      tensors: {
        ...shapes('f32', 5, 33),
        x: input('f32', [5, 33], normal(3), { view: 'last' }),
        y: output('f32', [5, 33], { view: 'last' }),
      },
      attributes: { eps: 1e-6 },
    },
    {
      name: 'views of rows',
      tensors: { ...shapes('bf16', 5, 33), x: input('bf16', [5, 33], normal(3), { view: 'first' }) },
      attributes: { eps: 1e-6 },
      roundings: { f32: 40, bf16: 2 },
    },
    {
      name: 'a row of zeros',
      smooth: false,
      tensors: { ...shapes('f32', 2, 19), x: input('f32', [2, 19], constant(0)) },
      attributes: { eps: 1e-6 },
    },
    {
      name: 'a NaN stays in its row',
      smooth: false,
      tensors: {
        ...shapes('f32', 3, 21),
        x: input('f32', [3, 21], (n) => normal(4)(n).map((x, i) => (i === 25 ? Number.NaN : x))),
      },
      attributes: { eps: 1e-6 },
    },
  ],
  bad: [
    {
      name: 'weight of another length',
      tensors: { ...shapes('f32', 3, 16), weight: input('f32', [15], normal(2)) },
      attributes: { eps: 1e-6 },
      message: "rms_norm: Expected 'weight' to have shape [16] but received [15]",
    },
    {
      name: 'weight of another dtype',
      tensors: { ...shapes('f32', 3, 16), weight: input('bf16', [16], normal(2)) },
      attributes: { eps: 1e-6 },
      message: "rms_norm: Expected 'weight' to have the dtype of 'x', f32 but received bf16",
    },
  ],
};
