import { inout, input, normal, output, uniform } from '../harness/data.js';
import type { OpCases, References } from '../harness/types.js';

/** With g = dy·weight: dx = dSum + r·(g − x·r²·mean(g·x)), dWeight += Σ dy·x·r. */
function reference({ x, weight, invRms, dy, dx, dWeight, dSum }: References): void {
  const E = x!.shape.at(-1)!;
  dx!.magnitude = new Float64Array(dx!.data.length);
  if (dWeight) dWeight.magnitude = dWeight.data.map(Math.abs);
  for (let t = 0; t < invRms!.data.length; t += 1) {
    const r = invRms!.data[t]!;
    const row = t * E;
    let mean = 0;
    let size = 0;
    for (let i = 0; i < E; i += 1) {
      const term = (dy!.data[row + i]! * weight!.data[i]! * x!.data[row + i]!) / E;
      mean += term;
      size += Math.abs(term);
    }
    for (let i = 0; i < E; i += 1) {
      const g = dy!.data[row + i]! * weight!.data[i]!;
      const others = dSum?.data[row + i] ?? 0;
      dx!.data[row + i] = others + r * (g - x!.data[row + i]! * r * r * mean);
      dx!.magnitude[row + i] = Math.abs(others) + r * (Math.abs(g) + Math.abs(x!.data[row + i]!) * r * r * size);
      if (!dWeight) continue;
      const term = dy!.data[row + i]! * x!.data[row + i]! * r;
      dWeight.data[i]! += term;
      dWeight.magnitude![i]! += Math.abs(term);
    }
  }
}

const shapes = (dtype: 'f32' | 'bf16', T: number, E: number) => ({
  x: input(dtype, [T, E], normal(1)),
  weight: input(dtype, [E], normal(2)),
  invRms: input('f32', [T], uniform(3, 0.5, 1.5)),
  dy: input(dtype, [T, E], normal(4)),
  dx: output(dtype, [T, E]),
  dWeight: inout('f32', [E], normal(5)),
});
const { dWeight: _, ...withoutWeight } = shapes('f32', 5, 23);

export const cases: OpCases = {
  op: 'rms_norm_backward',
  reference,
  // dWeight sums up to 70 rows one after the other; dx has a sum over E in lanes.
  roundings: { f32: 80 },
  gradient: { forwardOf: 'rms_norm' },
  cases: [
    { name: '7×131 f32', kind: 'odd', tensors: shapes('f32', 7, 131) },
    { name: '70×45 bf16, two blocks of rows', tensors: shapes('bf16', 70, 45) },
    { name: 'no rows leave dWeight alone', kind: 'empty', tensors: shapes('f32', 0, 16) },
    { name: 'one element', kind: 'one', tensors: shapes('f32', 1, 1) },
    { name: 'without dWeight', tensors: withoutWeight },
    { name: 'onto a gradient, f32', tensors: { ...shapes('f32', 7, 131), dSum: input('f32', [7, 131], normal(6)) } },
    { name: 'onto a gradient, bf16', tensors: { ...shapes('bf16', 9, 45), dSum: input('bf16', [9, 45], normal(6)) } },
    {
      name: 'views',
      tensors: {
        ...shapes('f32', 5, 33),
        x: input('f32', [5, 33], normal(1), { view: 'last' }),
        dy: input('f32', [5, 33], normal(4), { view: 'first' }),
        dx: output('f32', [5, 33], { view: 'last' }),
      },
    },
  ],
  bad: [
    {
      name: 'dy of another shape',
      tensors: { ...shapes('f32', 3, 16), dy: input('f32', [3, 15], normal(2)) },
      message: "rms_norm_backward: Expected 'dy' to have the shape of 'x', [3, 16] but received [3, 15]",
    },
    {
      name: 'dSum of another dtype',
      tensors: { ...shapes('f32', 3, 16), dSum: input('bf16', [3, 16], normal(6)) },
      message: "rms_norm_backward: Expected 'dSum' to have the dtype of 'x', f32 but received bf16",
    },
    {
      name: 'dWeight in bf16',
      tensors: { ...shapes('f32', 3, 16), dWeight: inout('bf16', [16], normal(2)) },
      message: "rms_norm_backward: Expected 'dWeight' to be f32 but received bf16",
    },
  ],
};
