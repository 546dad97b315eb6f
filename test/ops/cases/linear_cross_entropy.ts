import { inout, input, narrowed, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, References } from '../harness/types.js';
import { inputsOf, logitsOf, type Sizes } from './token_logprobs.js';
import { addGradients, roundingsOf } from './token_logprobs_backward.js';

function reference(tensors: References): void {
  const { hidden, weight, targets, tokenWeights, loss } = tensors;
  loss!.magnitude = new Float64Array(loss!.data.length);
  for (let t = 0; t < loss!.data.length; t += 1) {
    const target = targets!.data[t]!;
    const tokenWeight = target < 0 ? 0 : tokenWeights!.data[t]!;
    loss!.data[t] = 0;
    if (tokenWeight === 0) continue;
    const { logits, lse, size } = logitsOf(hidden!, weight!, t);
    loss!.data[t] = tokenWeight * (lse - logits[target]!);
    loss!.magnitude[t] = Math.abs(tokenWeight) * size;
  }
  addGradients(tensors, (token) => tokenWeights!.data[token]!);
}

function loss(
  name: string,
  sizes: Sizes,
  options: { kind?: OpCase['kind']; frozen?: boolean; nan?: boolean } = {},
): OpCase {
  const { dtype, T, V, E, view } = sizes;
  const inputs = inputsOf(sizes);
  // A token that does not count is not even looked at.
  const hidden = input(dtype, [T, E], (n) =>
    inputs.hidden.data!.slice(0, n).map((x, i) => (options.nan && Math.floor(i / E) % 5 === 3 ? Number.NaN : x)),
  );
  return {
    name,
    ...(options.kind ? { kind: options.kind } : {}),
    tensors: {
      ...inputs,
      ...(options.nan ? { hidden } : {}),
      tokenWeights: input('f32', [T], (n) => normal(6)(n).map((x, i) => (i % 5 === 3 ? 0 : Math.abs(x)))),
      loss: output('f32', [T]),
      dHidden: output(dtype, [T, E], narrowed(view)),
      ...(options.frozen ? {} : { dWeight: inout('f32', [V, E], normal(7), narrowed(view)) }),
    },
    roundings: roundingsOf(sizes),
  };
}

const odd: Sizes = { dtype: 'f32', T: 7, V: 67, E: 13 };

export const cases: OpCases = {
  op: 'linear_cross_entropy',
  reference,
  roundings: { f32: 16 },
  gradient: { backward: 'linear_cross_entropy', unitUpstream: true },
  cases: [
    loss('7×13, vocabulary 67', odd, { kind: 'odd' }),
    loss('small, for the gradient', { dtype: 'f32', T: 6, V: 17, E: 5 }),
    loss('no tokens', { ...odd, T: 0 }, { kind: 'empty' }),
    loss('one element', { dtype: 'f32', T: 1, V: 1, E: 1, targets: [0] }, { kind: 'one' }),
    loss('no token counts', { ...odd, T: 3, targets: [-1, -1, -1] }),
    loss('NaN in tokens that do not count', { ...odd, T: 20 }, { nan: true }),
    loss('frozen weight', odd, { frozen: true }),
    loss('a vocabulary of two tiles and a bit', { dtype: 'f32', T: 9, V: 1061, E: 20 }),
    loss('an odd vocabulary, bf16', { dtype: 'bf16', T: 33, V: 517, E: 40 }),
    loss('more tokens than a chunk', { dtype: 'f32', T: 330, V: 70, E: 9 }),
    loss('more tokens than a chunk, bf16', { dtype: 'bf16', T: 700, V: 70, E: 11 }),
    loss('views along the last dimension', { ...odd, view: 'last' }),
  ],
  bad: [
    {
      name: 'weights of other tokens',
      tensors: { ...loss('', odd).tensors, tokenWeights: input('f32', [6], normal(1)) },
      message: "linear_cross_entropy: Expected 'tokenWeights' to have shape [7] but received [6]",
    },
    {
      name: 'a hidden state of rank 3',
      tensors: { ...loss('', odd).tensors, hidden: input('f32', [1, 7, 13], normal(1)) },
      message: "linear_cross_entropy: Expected 'hidden' to have rank 2 but received shape [1, 7, 13]",
    },
  ],
};
