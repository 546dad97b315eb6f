import { describe, expect, it } from 'vitest';
import { expectClose, GOLDEN_MODELS, goldenArrays, goldenOutputs, largestError } from './fixtures.js';

describe('golden data', () => {
  it.each(GOLDEN_MODELS)('%s: the recorded log-probabilities follow from the recorded logits', (name) => {
    const { documents, logprobs } = goldenOutputs(name);
    const arrays = goldenArrays(`${name}.safetensors`);
    documents.forEach((tokens, d) => {
      const logits = arrays.get(`logits.${d}`)!;
      const vocabulary = logits.shape[1]!;
      expect(logits.shape[0]).toBe(tokens.length);
      expect(logprobs[d]![0]).toBeNull();
      const recomputed = tokens.slice(1).map((token, i) => {
        const row = [...logits.data.subarray(i * vocabulary, (i + 1) * vocabulary)];
        return row[token]! - Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
      });
      expectClose(logprobs[d]!.slice(1) as number[], recomputed, 2e-6, `${name} document ${d}`);
    });
  });

  it('compares NaN-aware', () => {
    expect(largestError([NaN, 1], [NaN, 1]).error).toBe(0);
    expect(largestError([1, NaN], [1, 1])).toEqual({ error: Infinity, index: 1 });
    expect(largestError([1], [NaN]).error).toBe(Infinity);
    expect(largestError([Infinity], [Infinity]).error).toBe(0);
    expect(largestError([Infinity], [1]).error).toBe(Infinity);
    expect(largestError([202], [200]).error).toBeCloseTo(0.01);
    expect(() => expectClose([1], [1, 2], 1, 'x')).toThrow("Expected 'x' to have 2 elements but received 1");
    expect(() => expectClose([1.1], [1], 1e-3, 'x')).toThrow("Expected 'x'[0] to be 1 within 0.001 but received 1.1");
  });
});
