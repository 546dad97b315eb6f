import { constant, inout, input, narrowed, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, Reference, References } from '../harness/types.js';
import { inputsOf, logitsOf, type Sizes } from './token_logprobs.js';

/** Adds the gradients of coefficientOf(token) · nll, with lse either given or of the logits. */
export function addGradients(
  { hidden, weight, targets, dHidden, dWeight }: References,
  coefficientOf: (token: number) => number,
  given?: Reference,
): void {
  const [V, E] = weight!.shape as [number, number];
  const T = hidden!.shape[0]!;
  dHidden!.data.fill(0);
  dHidden!.magnitude = new Float64Array(T * E);
  if (dWeight) dWeight.magnitude = dWeight.data.map(Math.abs);
  for (let t = 0; t < T; t += 1) {
    const target = targets!.data[t]!;
    const coefficient = target === -1 ? 0 : coefficientOf(t);
    if (coefficient === 0) continue;
    const { logits, lse, size } = logitsOf(hidden!, weight!, t);
    for (let v = 0; v < V; v += 1) {
      const p = Math.exp(logits[v]! - (given ? given.data[t]! : lse));
      const d = coefficient * (p - (v === target ? 1 : 0));
      // A logit that is off by e makes its probability off by the factor 1 + e.
      const off = Math.abs(coefficient) * (p * size + (v === target ? 1 : 0));
      for (let e = 0; e < E; e += 1) {
        dHidden!.data[t * E + e]! += d * weight!.data[v * E + e]!;
        dHidden!.magnitude[t * E + e]! += off * Math.abs(weight!.data[v * E + e]!);
        if (!dWeight) continue;
        dWeight.data[v * E + e]! += d * hidden!.data[t * E + e]!;
        dWeight.magnitude![v * E + e]! += off * Math.abs(hidden!.data[t * E + e]!);
      }
    }
  }
}

function reference(tensors: References): void {
  addGradients(tensors, (token) => -tensors.upstream!.data[token]!, tensors.lse);
}

export const roundingsOf = ({ dtype }: Sizes) => ({ f32: 16, bf16: dtype === 'bf16' ? 2 : 0 });

function backward(name: string, sizes: Sizes, options: { kind?: OpCase['kind']; frozen?: boolean } = {}): OpCase {
  const { dtype, T, V, E, view } = sizes;
  const inputs = inputsOf(sizes);
  const lse = Array.from({ length: T }, (_, t) => {
    const of = (name: 'hidden' | 'weight') => ({ ...inputs[name], data: inputs[name].data! });
    return logitsOf(of('hidden'), of('weight'), t).lse;
  });
  return {
    name,
    ...(options.kind ? { kind: options.kind } : {}),
    tensors: {
      ...inputs,
      lse: input('f32', [T], lse),
      upstream: input('f32', [T], (n) => normal(6)(n).map((x, i) => (i % 5 === 3 ? 0 : x))),
      dHidden: output(dtype, [T, E], narrowed(view)),
      ...(options.frozen ? {} : { dWeight: inout('f32', [V, E], normal(7), narrowed(view)) }),
    },
    roundings: roundingsOf(sizes),
  };
}

const odd: Sizes = { dtype: 'f32', T: 7, V: 67, E: 13 };

export const cases: OpCases = {
  op: 'token_logprobs_backward',
  reference,
  roundings: { f32: 16 },
  gradient: { forwardOf: 'token_logprobs' },
  cases: [
    backward('7×13, vocabulary 67', odd, { kind: 'odd' }),
    backward('no tokens', { ...odd, T: 0 }, { kind: 'empty' }),
    backward('one element', { dtype: 'f32', T: 1, V: 1, E: 1, targets: [0] }, { kind: 'one' }),
    backward('no token counts', { ...odd, T: 3, targets: [-1, -1, -1] }),
    backward('frozen weight', odd, { frozen: true }),
    backward('targets that another rank has', { ...odd, T: 5, targets: [-2, 3, -1, 66, -2] }),
    backward('a vocabulary of two tiles and a bit', { dtype: 'f32', T: 9, V: 1061, E: 20 }),
    backward('an odd vocabulary, bf16', { dtype: 'bf16', T: 33, V: 517, E: 40 }),
    backward('more tokens than a chunk, bf16', { dtype: 'bf16', T: 400, V: 70, E: 11 }),
    backward('views along the last dimension', { ...odd, view: 'last' }),
  ],
  bad: [
    {
      name: 'a gradient of the weight in bf16',
      tensors: { ...backward('', odd).tensors, dWeight: input('bf16', [67, 13], constant(0)) },
      message: "token_logprobs_backward: Expected 'dWeight' to be f32 but received bf16",
    },
    {
      name: 'a gradient of other tokens',
      tensors: { ...backward('', odd).tensors, dHidden: output('f32', [6, 13]) },
      message:
        "token_logprobs_backward: Expected 'dHidden' to have the shape of 'hidden', [7, 13] but received [6, 13]",
    },
  ],
};
