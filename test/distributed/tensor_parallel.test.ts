/** A model over 2 and 4 ranks computes what it does on one: hidden states, log-probabilities and gradients. */
import { describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { crossEntropy, logits, tokenLogprobs } from '../../src/ops/cross_entropy.js';
import { scope } from '../../src/tensor/scope.js';
import { Tape } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { type GoldenModel, modelFolder, relativeError } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { type Rank, withRanks } from './ranks.js';

// Grouped heads that are split or shared, tied and untied embeddings, a vocabulary that no number of ranks divides, biases.
// Quantised weights of which ranks' parts begin within blocks.
const models: GoldenModel[] = ['linear', 'tied', 'bias', 'fp8_tensor', 'fp8_block', 'mxfp4'];
const documents = [
  [5, 7, 100, 3, 96, 0, 51, 20, 8],
  [99, 2, 2, 64],
];
const targets = [7, 100, -1, 96, 0, 51, -1, 8, -1, 2, 2, 64, -1];

async function open({ device, group }: Rank, name: GoldenModel, dtype: 'f32' | 'bf16' = 'f32'): Promise<LoadedModel> {
  return loadModel(modelFolder(name), { device, group, dtype });
}

/** Everything that every rank must have alike, and its gradients, put together over the ranks. */
async function outcome(size: number, name: GoldenModel, dtype: 'f32' | 'bf16' = 'f32') {
  return withRanks(size, async (ranks) => {
    const found = await Promise.all(
      ranks.map(async (rank) => {
        const { model } = await open(rank, name, dtype);
        for (const weight of model.weights.values()) weight.requiresGrad = true;
        const results = scope(() => {
          const upload = (values: number[]) => Tensor.from(model.device, Int32Array.from(values));
          using tape = new Tape({ recompute: true });
          const { hidden, loss } = tape.run(() => {
            const states = model.forward(packed(model.device, documents));
            const ones = Tensor.full(model.device, [targets.length], 0.1);
            return { hidden: states, loss: crossEntropy(states, model.outputWeight, upload(targets), ones) };
          });
          tape.backward(loss);
          const { logprobs, lse } = tokenLogprobs(hidden, model.outputWeight, upload(targets));
          return { hidden, loss, logprobs, lse, logits: logits(hidden, model.outputWeight) };
        });
        const values = new Map<string, Float32Array>();
        for (const [key, tensor] of Object.entries(results)) {
          values.set(key, await tensor.readFloats());
          tensor.dispose();
        }
        const gradients = new Map<string, Float32Array>();
        for (const [key, weight] of model.weights) gradients.set(key, await weight.grad!.readFloats());
        const { parts } = model;
        model.dispose();
        return { values, gradients, parts };
      }),
    );
    for (const { values } of found) expect(values).toEqual(found[0]!.values);
    const gradients = new Map<string, Float32Array>();
    for (const [key, { whole, axis }] of found[0]!.parts) {
      if (!found[0]!.gradients.has(key)) continue; // quantised
      const sum = new Float32Array(whole.reduce((product, length) => product * length, 1));
      const columns = whole[1] ?? 1;
      for (const { gradients: own, parts } of found) {
        const { start, length, holder, partial } = parts.get(key)!;
        if (holder > 0 && !partial) continue;
        const width = axis === 1 ? length : columns;
        own.get(key)!.forEach((value, i) => {
          const [row, column] = [Math.floor(i / width), i % width];
          const at = axis === 1 ? row * columns + start + column : (start + row) * columns + column;
          sum[at]! += value;
        });
      }
      gradients.set(key, sum);
    }
    return { values: found[0]!.values, gradients };
  });
}

describe.each(models)('%s', (name) => {
  it.each([2, 4])('over %i ranks', async (size) => {
    const [one, many] = [await outcome(1, name), await outcome(size, name)];
    for (const [key, values] of one.values)
      expect(relativeError(many.values.get(key)!, values), key).toBeLessThan(1e-6);
    for (const [key, gradient] of one.gradients)
      expect(relativeError(many.gradients.get(key)!, gradient), key).toBeLessThan(3e-6);
  });
});

it('in bf16, as far as that goes', async () => {
  const [one, many] = [await outcome(1, 'tied', 'bf16'), await outcome(2, 'tied', 'bf16')];
  for (const [key, values] of one.values) expect(relativeError(many.values.get(key)!, values), key).toBeLessThan(0.02);
  for (const [key, gradient] of one.gradients)
    expect(relativeError(many.gradients.get(key)!, gradient), key).toBeLessThan(0.05);
});

it('refuses a size that the heads cannot be shared out to, on every rank', async () => {
  await withRanks(3, async (ranks) => {
    for (const rank of ranks)
      await expect(open(rank, 'tied')).rejects.toThrow(
        "Expected 'tp' to divide the model's 4 attention heads but received 3",
      );
  });
});

it('gives added tokens the mean of all embeddings, whoever holds which', async () => {
  const addedTokens = [
    { content: '<a>', special: false },
    { content: '<b>', special: true },
  ];
  const rowsOf = (size: number) =>
    withRanks(size, (ranks) =>
      Promise.all(
        ranks.map(async ({ device, group }) => {
          const { model } = await loadModel(modelFolder('chat'), { device, group, text: { addedTokens } });
          const values = await model.weights.get('model.embed_tokens.weight')!.readFloats();
          model.dispose();
          return [...values];
        }),
      ),
    );
  const [[one], many] = [await rowsOf(1), await rowsOf(4)];
  expect(relativeError(many.flat(), one!)).toBeLessThan(1e-7);
});
