import { inout, input, integers, narrowed, normal } from '../harness/data.js';
import { nearestFp8 } from '../harness/fp8.js';
import type { OpCase, OpCases, Reference, References, TensorSpec } from '../harness/types.js';
import { cases as rotary } from './rotary.js';

function reference({ k, v, slots, keyCache, valueCache, cosSin, q }: References): void {
  const row = k!.shape[1]! * k!.shape[2]!;
  if (cosSin) for (const x of q ? [k!, q] : [k!]) turn(x, cosSin);
  const magnitude = keyCache!.data.map(Math.abs);
  const stored = keyCache!.dtype === k!.dtype ? (x: number) => x : nearestFp8;
  for (const [token, slot] of slots!.data.entries())
    for (let i = 0; slot >= 0 && i < row; i += 1) {
      keyCache!.data[slot * row + i] = stored(k!.data[token * row + i]!);
      magnitude[slot * row + i] = Math.abs(k!.magnitude?.[token * row + i] ?? 0);
      valueCache!.data[slot * row + i] = stored(v!.data[token * row + i]!);
    }
  keyCache!.magnitude = magnitude;
}

function write(
  dtype: 'f32' | 'bf16',
  slots: number[],
  [N, S, G, D]: [number, number, number, number],
  view?: 'last',
): OpCase['tensors'] {
  return {
    k: input(dtype, [slots.length, G, D], normal(1), narrowed(view)),
    v: input(dtype, [slots.length, G, D], normal(2), narrowed(view)),
    slots: input('i32', [slots.length], slots),
    keyCache: inout(dtype, [N, S, G, D], normal(3), narrowed(view)),
    valueCache: inout(dtype, [N, S, G, D], normal(4)),
  };
}

function turn(x: Reference, cosSin: Reference): void {
  const y = { ...x, data: new Float64Array(x.data.length) };
  rotary.reference({ x, cosSin, y }, { direction: 1 });
  Object.assign(x, { data: y.data, magnitude: y.magnitude });
}

/** Angles of every kind, or such that what is turned is exact: no nearest number is in doubt. */
function angles(T: number, R: number, exact = false): TensorSpec {
  const values = exact ? [0, 1, -1, 0.5] : [0.6, 0.8, -0.28, 0.96, 1, 0];
  return input('f32', [T, R], (count) =>
    Float64Array.from({ length: count }, (_, i) => values[(i * 5) % values.length]!),
  );
}

/** Into fp8: numbers of its whole range, beyond it, and none. */
function writeFp8(dtype: 'f32' | 'bf16' | 'fp8', slots: number[], [N, S, G, D]: [number, number, number, number]) {
  const shape = [slots.length, G, D];
  const values = (seed: number) => (count: number) => {
    const exponents = integers(seed, -12, 10)(count);
    const numbers = normal(seed + 1)(count).map((x, i) => x * 2 ** exponents[i]!);
    return numbers.map((x, i) => [x, x, x, -Infinity, Number.NaN, 464, -0, 2 ** -10][i < 30 ? i % 8 : 0]!);
  };
  const given = (seed: number) =>
    dtype === 'fp8' ? input('fp8', shape, integers(seed, 0, 256)) : input(dtype, shape, values(seed));
  const cache = (seed: number) => inout('fp8', [N, S, G, D], integers(seed, 0, 256));
  return {
    k: given(1),
    v: given(2),
    slots: input('i32', [slots.length], slots),
    keyCache: cache(3),
    valueCache: cache(4),
  };
}

export const cases: OpCases = {
  op: 'kv_write',
  reference,
  roundings: { f32: 0, bf16: 0 },
  gradient: 'not differentiable',
  cases: [
    { name: '5 tokens, two skipped, f32', kind: 'odd', tensors: write('f32', [7, -1, 0, 14, -1], [3, 5, 2, 7]) },
    { name: 'bf16', tensors: write('bf16', [11, 10, 3], [4, 3, 3, 10]) },
    {
      name: 'keys turned, f32',
      tensors: { ...write('f32', [7, -1, 0, 14, -1], [3, 5, 2, 37]), cosSin: angles(5, 20) },
      roundings: { f32: 2 },
    },
    {
      name: 'queries and keys turned, bf16',
      tensors: {
        ...write('bf16', [11, -1, 3], [4, 3, 3, 64], 'last'),
        cosSin: angles(3, 64),
        q: inout('bf16', [3, 9, 64], normal(6), narrowed('last')),
      },
      roundings: { f32: 2, bf16: 1 },
    },
    {
      name: 'queries and keys turned to fp8',
      tensors: {
        ...writeFp8('bf16', [2, 8], [3, 3, 2, 18]),
        k: input('bf16', [2, 2, 18], integers(7, -6, 7)),
        cosSin: angles(2, 16, true),
        q: inout('bf16', [2, 4, 18], integers(8, -6, 7)),
      },
    },
    { name: 'f32 to fp8', tensors: writeFp8('f32', [7, -1, 0, 14, -1], [3, 5, 2, 37]) },
    { name: 'bf16 to fp8', tensors: writeFp8('bf16', [11, 10, 3], [4, 3, 3, 64]) },
    { name: 'fp8 to fp8', tensors: writeFp8('fp8', [1, 8], [3, 3, 2, 19]) },
    { name: 'no tokens', kind: 'empty', tensors: write('f32', [], [2, 4, 1, 8]) },
    { name: 'one element', kind: 'one', tensors: write('f32', [0], [1, 1, 1, 1]) },
    { name: 'views along the last dimension', tensors: write('bf16', [2, 5], [2, 3, 2, 6], 'last') },
    {
      name: 'more tokens than a task takes',
      tensors: write(
        'f32',
        Array.from({ length: 150 }, (_, i) => (i * 7) % 151),
        [151, 1, 1, 3],
      ),
    },
  ],
  bad: [
    {
      name: 'a cache of other heads',
      tensors: { ...write('f32', [1, 2], [2, 4, 2, 8]), keyCache: inout('f32', [2, 4, 1, 8], normal(3)) },
      message: "kv_write: Expected 'keyCache' to have shape [2, 4, 2, 8] but received [2, 4, 1, 8]",
    },
    {
      name: 'queries without angles',
      tensors: { ...write('f32', [1, 2], [2, 4, 2, 8]), q: inout('f32', [2, 4, 8], normal(5)) },
      message: "kv_write: Expected 'cosSin' to be there for 'q' but received none",
    },
    {
      name: 'angles of other tokens',
      tensors: { ...write('f32', [1, 2], [2, 4, 2, 8]), cosSin: angles(3, 8) },
      message: "kv_write: Expected 'cosSin' to have shape [2, R], R even and at most 8 but received [3, 8]",
    },
    {
      name: 'a cache of another dtype',
      tensors: { ...write('f32', [1, 2], [2, 4, 2, 8]), keyCache: inout('bf16', [2, 4, 2, 8], normal(3)) },
      message: "kv_write: Expected 'keyCache' to have the dtype of 'k', f32, or be fp8 but received bf16",
    },
  ],
};
