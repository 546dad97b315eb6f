import { input, narrowed, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, Reference, References } from '../harness/types.js';

/** Where in documents the query rows stand and which keys they see: both forms of attention are this, with rows of their own. */
export interface Rows {
  /** The rows of keys and values, in order, that query token t of head h sees. */
  keysOf(token: number, head: number): number[];
}

/** softmax(scale·q·kᵀ)·v with the errors' magnitudes; `lse` may be missing. */
export function attend(tensors: References, k: Reference, v: Reference, scale: number, rows: Rows): void {
  const { q, o, lse, sinks } = tensors;
  const [T, H, D] = q!.shape as [number, number, number];
  o!.magnitude = new Float64Array(o!.data.length);
  if (lse) lse.magnitude = new Float64Array(lse.data.length);
  for (let t = 0; t < T; t += 1)
    for (let h = 0; h < H; h += 1) {
      const query = (t * H + h) * D;
      const keys = rows.keysOf(t, h);
      let size = 1;
      const scores = keys.map((row) => {
        let score = 0;
        let magnitude = 0;
        for (let i = 0; i < D; i += 1) {
          const product = q!.data[query + i]! * k.data[row * D + i]!;
          score += product;
          magnitude += Math.abs(product);
        }
        size = Math.max(size, magnitude * Math.abs(scale));
        return score * scale;
      });
      const all = sinks ? [...scores, sinks.data[h]!] : scores;
      const maximum = Math.max(...all);
      const logSum = maximum + Math.log(all.reduce((sum, score) => sum + Math.exp(score - maximum), 0));
      for (let i = 0; i < D; i += 1) {
        let sum = 0;
        let magnitude = 0;
        for (const [j, row] of keys.entries()) {
          const term = Math.exp(scores[j]! - logSum) * v.data[row * D + i]!;
          sum += term;
          magnitude += Math.abs(term);
        }
        o!.data[query + i] = sum;
        // A score that is off by e makes its probability off by the factor 1 + e.
        o!.magnitude[query + i] = magnitude * size;
      }
      if (lse) {
        lse.data[t * H + h] = logSum;
        lse.magnitude![t * H + h] = Math.max(size, Math.abs(logSum));
      }
    }
}

/** The rows of k and v [tokens, G, D] that a token of packed documents sees. */
export function packedKeys(cuSeqlens: Float64Array, H: number, G: number, window: number): Rows {
  return {
    keysOf(token, head) {
      let start = 0;
      for (const bound of cuSeqlens) if (bound <= token) start = bound;
      const first = window === 0 ? start : Math.max(start, token - window + 1);
      const rows = [];
      for (let key = first; key <= token; key += 1) rows.push(key * G + Math.floor(head / (H / G)));
      return rows;
    },
  };
}

export function reference(tensors: References, { scale, window }: Record<string, number>): void {
  const { q, k, v, cuSeqlens } = tensors;
  attend(tensors, k!, v!, scale!, packedKeys(cuSeqlens!.data, q!.shape[1]!, k!.shape[1]!, window!));
}

export interface Shape {
  dtype: 'f32' | 'bf16';
  lengths: number[];
  H: number;
  G: number;
  D: number;
  window?: number;
  sinks?: boolean;
  view?: 'last';
}

export function bounds(lengths: readonly number[]): number[] {
  const result = [0];
  for (const length of lengths) result.push(result.at(-1)! + length);
  return result;
}

export function packedTensors({ dtype, lengths, H, G, D, sinks, view }: Shape): OpCase['tensors'] {
  const T = bounds(lengths).at(-1)!;
  return {
    q: input(dtype, [T, H, D], normal(1), narrowed(view)),
    k: input(dtype, [T, G, D], normal(2), narrowed(view)),
    v: input(dtype, [T, G, D], normal(3), narrowed(view)),
    cuSeqlens: input('i32', [lengths.length + 1], bounds(lengths)),
    ...(sinks ? { sinks: input('f32', [H], normal(4)) } : {}),
    o: output(dtype, [T, H, D], narrowed(view)),
    lse: output('f32', [T, H]),
  };
}

export const attributesOf = ({ D, window = 0 }: Shape): Record<string, number> => ({
  scale: 1.2 / Math.sqrt(D),
  window,
});

/** Probabilities may be rounded to bf16, and the result is. */
export const roundingsOf = ({ dtype }: Shape) => ({ f32: 16, bf16: dtype === 'bf16' ? 2 : 0 });

function packed(name: string, shape: Shape, kind?: OpCase['kind']): OpCase {
  return {
    name,
    ...(kind ? { kind } : {}),
    tensors: packedTensors(shape),
    attributes: attributesOf(shape),
    roundings: roundingsOf(shape),
  };
}

const small: Shape = { dtype: 'f32', lengths: [3, 2], H: 2, G: 1, D: 4 };

export const cases: OpCases = {
  op: 'attention',
  reference,
  roundings: { f32: 16 },
  gradient: { backward: 'attention_backward' },
  cases: [
    packed(
      '5 and 67 and 1 tokens, 3 heads on 1, head size 10',
      { dtype: 'f32', lengths: [5, 67, 1], H: 3, G: 1, D: 10 },
      'odd',
    ),
    packed('no tokens', { dtype: 'f32', lengths: [], H: 2, G: 1, D: 8 }, 'empty'),
    packed('empty documents', { dtype: 'f32', lengths: [0, 3, 0, 0, 2, 0], H: 2, G: 2, D: 8 }),
    packed('one element', { dtype: 'f32', lengths: [1], H: 1, G: 1, D: 1 }, 'one'),
    packed('small, for the gradient', small),
    packed('small with a window, for the gradient', { ...small, lengths: [1, 5], window: 2 }),
    packed('150 tokens, 9 heads on 3, bf16', { dtype: 'bf16', lengths: [150], H: 9, G: 3, D: 64 }),
    packed('head size 128, 5 heads on 1, bf16', { dtype: 'bf16', lengths: [3, 70], H: 5, G: 1, D: 128, sinks: true }),
    packed('head size 256, bf16', { dtype: 'bf16', lengths: [66], H: 2, G: 1, D: 256, window: 40 }),
    packed('130 tokens, head size 33, bf16', { dtype: 'bf16', lengths: [64, 130], H: 2, G: 2, D: 33 }),
    packed('window of 70', { dtype: 'f32', lengths: [200, 71], H: 2, G: 1, D: 16, window: 70 }),
    packed('window of 1 sees only itself', { dtype: 'bf16', lengths: [9], H: 1, G: 1, D: 6, window: 1 }),
    packed('window of 33, bf16', { dtype: 'bf16', lengths: [140], H: 4, G: 2, D: 20, window: 33 }),
    // So many documents that one task takes all heads, with one thread and not with two.
    packed('6 short documents', { dtype: 'bf16', lengths: [3, 1, 7, 2, 9, 4], H: 6, G: 3, D: 12, sinks: true }),
    packed('sinks', { dtype: 'f32', lengths: [66, 3], H: 4, G: 2, D: 16, sinks: true }),
    packed('sinks and window, bf16', { dtype: 'bf16', lengths: [100], H: 8, G: 1, D: 64, sinks: true, window: 16 }),
    packed('more heads than rows of a task', { dtype: 'f32', lengths: [4], H: 130, G: 1, D: 2 }),
    packed('views along the last dimension', { dtype: 'f32', lengths: [20], H: 2, G: 1, D: 12, view: 'last' }),
  ],
  bad: [
    {
      name: 'heads that the key heads do not divide',
      tensors: {
        ...packedTensors(small),
        k: input('f32', [5, 3, 4], normal(1)),
        v: input('f32', [5, 3, 4], normal(1)),
      },
      attributes: { scale: 1, window: 0 },
      message: "attention: Expected 'q' to have a multiple of the 3 heads of 'k' but received 2",
    },
    {
      name: 'keys of another head size',
      tensors: { ...packedTensors(small), k: input('f32', [5, 1, 6], normal(1)) },
      attributes: { scale: 1, window: 0 },
      message: "attention: Expected 'k' to have head size 4 but received 6",
    },
    {
      name: 'keys of other tokens',
      tensors: {
        ...packedTensors(small),
        k: input('f32', [4, 1, 4], normal(1)),
        v: input('f32', [4, 1, 4], normal(1)),
      },
      attributes: { scale: 1, window: 0 },
      message: "attention: Expected 'k' to have 5 tokens but received [4, 1, 4]",
    },
    {
      name: 'a negative window',
      tensors: packedTensors(small),
      attributes: { scale: 1, window: -3 },
      message: "attention: Expected 'window' to be a whole number of keys, 0 for all, but received -3",
    },
    {
      name: 'a scale that is no number',
      tensors: packedTensors(small),
      attributes: { scale: Number.NaN, window: 0 },
      message: "attention: Expected 'scale' to be a number but received nan",
    },
    {
      name: 'cuSeqlens without a single bound',
      tensors: { ...packedTensors(small), cuSeqlens: input('i32', [0], []) },
      attributes: { scale: 1, window: 0 },
      message: "attention: Expected 'cuSeqlens' to have at least one element but received [0]",
    },
  ],
};
