import { input, integers, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (N: number, T: number, V: number, targets = integers(2, -1, V)) => ({
  parts: input('f32', [N, 2, T], normal(1, 5)),
  targets: input('i32', [T], targets),
  logprobs: output('f32', [T]),
  lse: output('f32', [T]),
});

export const cases: OpCases = {
  op: 'merge_logprobs',
  reference({ parts, targets, logprobs, lse }, { vocabulary }) {
    const [N, , T] = parts!.shape as [number, number, number];
    logprobs!.magnitude = new Float64Array(T);
    for (let t = 0; t < T; t += 1) {
      const target = targets!.data[t]!;
      const own = Array.from({ length: N }, (_, n) => ({
        logprob: parts!.data[2 * n * T + t]!,
        lse: parts!.data[(2 * n + 1) * T + t]!,
        end: Math.floor(((n + 1) * vocabulary!) / N),
      }));
      const largest = Math.max(...own.map((part) => part.lse));
      const merged = largest + Math.log(own.reduce((sum, part) => sum + Math.exp(part.lse - largest), 0));
      const owner = own.find((part) => target < part.end)!;
      logprobs!.data[t] = target < 0 ? 0 : owner.logprob + owner.lse - merged;
      logprobs!.magnitude[t] = target < 0 ? 0 : Math.abs(owner.logprob) + Math.abs(owner.lse) + Math.abs(merged);
      lse!.data[t] = target < 0 ? 0 : merged;
    }
    lse!.magnitude = lse!.data.map((value) => Math.abs(value) + 1);
  },
  roundings: { f32: 8 },
  // Its gradient is that of token_logprobs, with the merged log-sum-exp.
  gradient: 'not differentiable',
  cases: [
    { name: '4 parts, 37 tokens', kind: 'odd', tensors: tensors(4, 37, 11), attributes: { vocabulary: 11 } },
    { name: 'one part', tensors: tensors(1, 9, 7), attributes: { vocabulary: 7 } },
    { name: 'as many parts as words', tensors: tensors(3, 19, 3), attributes: { vocabulary: 3 } },
    {
      name: 'the edges of parts',
      tensors: tensors(4, 11, 10, (count) => Float64Array.from({ length: count }, (_, t) => t - 1)),
      attributes: { vocabulary: 10 },
    },
    { name: 'no tokens', kind: 'empty', tensors: tensors(2, 0, 7), attributes: { vocabulary: 7 } },
    {
      name: 'one element',
      kind: 'one',
      tensors: { ...tensors(1, 1, 1), parts: input('f32', [1, 2, 1], [-0.5, 2]) },
      attributes: { vocabulary: 1 },
    },
  ],
  bad: [
    {
      name: 'parts without their log-sum-exp',
      tensors: { ...tensors(2, 5, 7), parts: input('f32', [2, 1, 5], normal(1)) },
      attributes: { vocabulary: 7 },
      message: "merge_logprobs: Expected 'parts' to have shape [2, 2, 5] but received [2, 1, 5]",
    },
    {
      name: 'more parts than words',
      tensors: tensors(4, 5, 3),
      attributes: { vocabulary: 3 },
      message:
        "merge_logprobs: Expected 'vocabulary' to be a whole number from the number of parts to below 2^31 but received 3",
    },
  ],
};
