import { input, normal, output } from '../harness/data.js';
import type { OpCases, References } from '../harness/types.js';
import { reference as norm } from './rms_norm.js';

function reference({ a, b, weight, sum, y, invRms }: References, attributes: Record<string, number>): void {
  for (let i = 0; i < sum!.data.length; i += 1) sum!.data[i] = a!.data[i]! + b!.data[i]!;
  norm({ x: sum!, weight: weight!, y: y!, invRms: invRms! }, attributes);
}

const shapes = (dtype: 'f32' | 'bf16', T: number, E: number) => ({
  a: input(dtype, [T, E], normal(1)),
  b: input(dtype, [T, E], normal(2)),
  weight: input(dtype, [E], normal(3)),
  sum: output(dtype, [T, E]),
  y: output(dtype, [T, E]),
  invRms: output('f32', [T]),
});
const attributes = { eps: 1e-6 };

export const cases: OpCases = {
  op: 'add_rms_norm',
  reference,
  // Those of rms_norm, and the sum's.
  roundings: { f32: 41 },
  gradient: 'through the tape',
  cases: [
    { name: '7×131 f32', kind: 'odd', tensors: shapes('f32', 7, 131), attributes },
    { name: '67×45 bf16', tensors: shapes('bf16', 67, 45), attributes, roundings: { f32: 41, bf16: 3 } },
    { name: 'no rows', kind: 'empty', tensors: shapes('f32', 0, 16), attributes },
    { name: 'one element', kind: 'one', tensors: shapes('f32', 1, 1), attributes },
    {
      name: 'views, the sum in place',
      tensors: {
        ...shapes('f32', 5, 33),
        a: input('f32', [5, 33], normal(1), { view: 'last' }),
        b: input('f32', [5, 33], normal(2), { view: 'first' }),
        sum: output('f32', [5, 33], { same: 'a' }),
      },
      attributes,
    },
  ],
  bad: [
    {
      name: 'terms of two shapes',
      tensors: { ...shapes('f32', 3, 16), b: input('f32', [3, 15], normal(2)) },
      attributes,
      message: "add_rms_norm: Expected 'b' to have the shape of 'a', [3, 16] but received [3, 15]",
    },
    {
      name: 'weight of another length',
      tensors: { ...shapes('f32', 3, 16), weight: input('f32', [15], normal(3)) },
      attributes,
      message: "add_rms_norm: Expected 'weight' to have shape [16] but received [15]",
    },
  ],
};
