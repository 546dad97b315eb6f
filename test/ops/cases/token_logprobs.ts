import { input, integers, narrowed, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, Reference, References } from '../harness/types.js';

/** Logits of one token, their log Σ exp, and Σ |hidden·weight| of the largest of them, which their errors are relative to. */
export function logitsOf(hidden: Reference, weight: Reference, token: number) {
  const [V, E] = weight.shape as [number, number];
  const logits = new Float64Array(V);
  let size = 1;
  for (let v = 0; v < V; v += 1) {
    let magnitude = 0;
    for (let e = 0; e < E; e += 1) {
      const product = hidden.data[token * E + e]! * weight.data[v * E + e]!;
      logits[v]! += product;
      magnitude += Math.abs(product);
    }
    size = Math.max(size, magnitude);
  }
  const maximum = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const lse = maximum + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - maximum), 0));
  return { logits, lse, size: Math.max(size, Math.abs(lse)) };
}

function reference({ hidden, weight, targets, logprobs, lse }: References): void {
  const T = hidden!.shape[0]!;
  logprobs!.magnitude = new Float64Array(T);
  lse!.magnitude = new Float64Array(T);
  for (let t = 0; t < T; t += 1) {
    const target = targets!.data[t]!;
    const row = target === -1 ? null : logitsOf(hidden!, weight!, t);
    logprobs!.data[t] = row ? (row.logits[target] ?? Number.NEGATIVE_INFINITY) - row.lse : 0;
    lse!.data[t] = row ? row.lse : 0;
    logprobs!.magnitude[t] = row ? row.size : 0;
    lse!.magnitude[t] = row ? row.size : 0;
  }
}

export interface Sizes {
  dtype: 'f32' | 'bf16';
  T: number;
  V: number;
  E: number;
  view?: 'last';
  targets?: number[];
}

export const inputsOf = ({ dtype, T, V, E, view, targets }: Sizes) => ({
  hidden: input(dtype, [T, E], normal(1), narrowed(view)),
  weight: input(dtype, [V, E], normal(2, 0.5), narrowed(view)),
  targets: input('i32', [T], targets ?? integers(3, -1, V)),
});

function logprobs(name: string, sizes: Sizes, kind?: OpCase['kind']): OpCase {
  return {
    name,
    ...(kind ? { kind } : {}),
    tensors: { ...inputsOf(sizes), logprobs: output('f32', [sizes.T]), lse: output('f32', [sizes.T]) },
  };
}

const odd: Sizes = { dtype: 'f32', T: 7, V: 67, E: 13 };

export const cases: OpCases = {
  op: 'token_logprobs',
  reference,
  // A chain of E roundings walks at random; the log-sum-exp averages over the vocabulary.
  roundings: { f32: 16 },
  gradient: { backward: 'token_logprobs_backward', arguments: { upstream: 'dLogprobs' } },
  cases: [
    logprobs('7×13, vocabulary 67', odd, 'odd'),
    logprobs('no tokens', { ...odd, T: 0 }, 'empty'),
    logprobs('one element', { dtype: 'f32', T: 1, V: 1, E: 1, targets: [0] }, 'one'),
    logprobs('no token counts', { ...odd, T: 3, targets: [-1, -1, -1] }),
    {
      ...logprobs('targets that another rank has', { ...odd, T: 5, targets: [-2, 3, -1, 66, -2] }),
      smooth: false, // a log-probability of −∞
    },
    logprobs('a vocabulary of two tiles and a bit', { dtype: 'f32', T: 9, V: 1061, E: 20 }),
    logprobs('a vocabulary of exactly one tile, bf16', { dtype: 'bf16', T: 33, V: 512, E: 64 }),
    logprobs('two blocks of E, bf16', { dtype: 'bf16', T: 5, V: 515, E: 577 }),
    logprobs('more tokens than a chunk, bf16', { dtype: 'bf16', T: 400, V: 70, E: 11 }),
    logprobs('views along the last dimension', { ...odd, view: 'last' }),
  ],
  bad: [
    {
      name: 'a weight of another hidden size',
      tensors: { ...logprobs('', odd).tensors, weight: input('f32', [67, 12], normal(2)) },
      message: "token_logprobs: Expected 'weight' to have shape [67, 13] but received [67, 12]",
    },
    {
      name: 'targets of other tokens',
      tensors: { ...logprobs('', odd).tensors, targets: input('i32', [6], integers(1, 0, 5)) },
      message: "token_logprobs: Expected 'targets' to have shape [7] but received [6]",
    },
  ],
};
