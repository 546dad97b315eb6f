/** What single cases cannot show of `sample`: that the draws follow the distribution, and what happens when data are wrong. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { distribution, type SampleRow } from './harness/sample.js';

const logits = [2, 1.5, 1, 0.5, 0, -0.5, -1, -1.5, -2, -2.5, 0.25, -8];
const draws = 20_000;

/** One row of `draws` each, told apart by seed or by output index. */
async function draw(device: Device, parameters: Partial<SampleRow>, told: 'seed' | 'outputIndex'): Promise<Int32Array> {
  const { temperature = 1, topP = 1, minP = 0, topK = 0 } = parameters;
  const rows = <T>(row: (index: number) => T[]): T[] => Array.from({ length: draws }, (_, index) => row(index)).flat();
  const inputs = [
    Tensor.from(device, Float32Array.from(rows(() => logits)), [draws, logits.length]),
    Tensor.from(device, Float32Array.from(rows(() => [temperature, topP, minP, 0, 0, 1, 0, 0])), [draws, 8]),
    Tensor.from(device, Int32Array.from(rows((i) => (told === 'seed' ? [topK, i, 0, 0] : [topK, 12345, 678, i]))), [
      draws,
      4,
    ]),
    Tensor.from(device, new Int32Array(0)),
    Tensor.from(device, new Int32Array(2 * draws + 1)),
  ];
  using tokens = Tensor.empty(device, [draws], 'i32');
  using logprobs = Tensor.empty(device, [draws], 'f32');
  launch('sample', [...inputs, null, null, null, null, tokens, logprobs, null, null]);
  for (const tensor of inputs) tensor.dispose();
  return (await tokens.read()) as Int32Array;
}

describe('sample', () => {
  let device: Device;
  beforeEach(() => {
    device = Device.open('cpu', { threads: 2 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  // Critical values of χ² at 10⁻⁴; draws are a function of the numbers above, so a run that passes always passes.
  const critical: Record<number, number> = { 3: 21.1, 4: 23.5, 5: 25.7, 6: 27.9, 10: 35.6, 11: 37.4 };
  it.each([
    ['as they are', {}],
    ['at temperature 0.5', { temperature: 0.5 }],
    ['top-k 4', { topK: 4 }],
    ['top-p 0.85', { topP: 0.85 }],
    ['min-p 0.2', { minP: 0.2, temperature: 1.3 }],
  ] as [string, Partial<SampleRow>][])('follows the distribution: %s', async (_name, parameters) => {
    const row = {
      ...{ temperature: 1, topP: 1, minP: 0, topK: 0, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
      ...{ seed: [0, 0] as const, outputIndex: 0, prompt: [], output: [], bias: [], allowed: () => true },
      ...parameters,
      logits: Float64Array.from(logits),
    };
    const expected = distribution(row);
    for (const told of ['seed', 'outputIndex'] as const) {
      const counts = new Map<number, number>();
      for (const token of await draw(device, parameters, told)) counts.set(token, (counts.get(token) ?? 0) + 1);
      expect([...counts.keys()].filter((token) => !expected.has(token))).toEqual([]);
      let chiSquare = 0;
      for (const [token, probability] of expected)
        chiSquare += ((counts.get(token) ?? 0) - draws * probability) ** 2 / (draws * probability);
      expect(critical[expected.size - 1], `critical value for ${expected.size} tokens`).toBeDefined();
      expect(chiSquare).toBeLessThan(critical[expected.size - 1]!);
    }
  });

  it('gives a row the same token whatever the batch', async () => {
    const all = await draw(device, { topP: 0.9 }, 'seed');
    using logit = Tensor.from(device, logits, [1, logits.length]);
    using floats = Tensor.from(device, [1, 0.9, 0, 0, 0, 1, 0, 0], [1, 8]);
    using ints = Tensor.from(device, Int32Array.of(0, 777, 0, 0), [1, 4]);
    using history = Tensor.from(device, new Int32Array(0));
    using offsets = Tensor.from(device, new Int32Array(3));
    using tokens = Tensor.empty(device, [1], 'i32');
    using logprobs = Tensor.empty(device, [1], 'f32');
    launch('sample', [logit, floats, ints, history, offsets, null, null, null, null, tokens, logprobs, null, null]);
    expect((await tokens.read())[0]).toBe(all[777]);
  });

  it.each([
    [
      'a token of the history beyond the vocabulary',
      [1, 12],
      [0, 1, 2],
      /'history' to hold tokens in \[0, 12\) but received 12/,
    ],
    ['offsets that fall', [1, 2], [0, 2, 1], /'historyOffsets' to rise from 0 to at most 2 but received 1/],
    ['offsets beyond the history', [1, 2], [0, 1, 3], /'historyOffsets' to rise from 0 to at most 2 but received 3/],
  ] as [string, number[], number[], RegExp][])('fails at run time for %s', async (_name, past, bounds, message) => {
    using logit = Tensor.from(device, logits, [1, logits.length]);
    using floats = Tensor.from(device, [1, 1, 0, 0, 0, 1.5, 0, 0], [1, 8]);
    using ints = Tensor.from(device, new Int32Array(4), [1, 4]);
    using history = Tensor.from(device, Int32Array.from(past));
    using offsets = Tensor.from(device, Int32Array.from(bounds));
    using tokens = Tensor.empty(device, [1], 'i32');
    using logprobs = Tensor.empty(device, [1], 'f32');
    launch('sample', [logit, floats, ints, history, offsets, null, null, null, null, tokens, logprobs, null, null]);
    await expect(tokens.read()).rejects.toThrow(message);
  });
});
