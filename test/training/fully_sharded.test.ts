import { describe, expect, it } from 'vitest';
import { expectTrained, randomDocuments, trainOnRanks } from './student.js';

const documents = randomDocuments(40, 60);

describe('fully sharded training', () => {
  it.each([
    ['full', 'tied', 'none'],
    ['full', 'linear', 'layer'],
    ['full', 'bias', 'selective'],
    ['lora', 'tied', 'layer'],
    ['lora', 'linear', 'none'],
  ] as const)(
    'trains as one rank does (%s, %s, activation checkpointing %s)',
    async (method, model, activationCheckpointing) => {
      // Windows of five micro-batches, the last of an epoch of fewer: some ranks have less to do, and must keep step.
      const shape = { gradientAccumulation: 5, sequenceLength: 24, epochs: 3 };
      const settings = { method, model, activationCheckpointing, ...shape };
      const alone = await trainOnRanks(1, settings, documents);
      for (const ranks of [2, 4])
        expectTrained(await trainOnRanks(ranks, { ...settings, sharded: true }, documents), alone);
    },
  );

  // With one micro-batch a rank and no clipping nothing is summed in another order; 8-bit moments and bf16 then agree too.
  it.each([
    ['full', 8, 'f32'],
    ['full', 8, 'bf16'],
    ['full', 32, 'bf16'],
    ['lora', 8, 'bf16'],
  ] as const)(
    'gives the bits that ranks with whole models do (%s, moments of %i bits, %s)',
    async (method, bits, dtype) => {
      for (const ranks of [2, 4]) {
        const shape = { gradientAccumulation: ranks, sequenceLength: 40, epochs: 3, maxGradNorm: 0 };
        const settings = { method, bits, dtype, model: 'tied', activationCheckpointing: 'layer', ...shape } as const;
        const [whole] = await trainOnRanks(ranks, settings, documents);
        for (const part of await trainOnRanks(ranks, { ...settings, sharded: true }, documents)) {
          expect(part.losses).toEqual(whole!.losses);
          for (const [name, values] of whole!.weights) expect(part.weights.get(name), name).toEqual(values);
        }
      }
    },
  );
});
