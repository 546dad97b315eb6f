/** AdamW on bf16 weights: the f32 update, rounded to a neighbour by a Philox word; right on average, and the same bits every time. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { randomWord } from '../../src/training/philox.js';
import { normal } from './harness/data.js';

const [rate, decay] = [1e-3, 0.01];

describe.each(['adamw', 'adamw_8bit'] as const)('%s', (op) => {
  let device: Device;
  beforeEach(() => {
    device = Device.open('cpu', { threads: 2 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  /** The weights after one step from fresh state. */
  async function step(
    start: ArrayLike<number>,
    g: Float32Array,
    dtype: 'f32' | 'bf16',
    [learningRate, weightDecay, number, seed, purpose]: readonly [number, number, number, number, number],
    first = 0,
  ) {
    const n = start.length;
    const blocks = Math.ceil(n / 256);
    const zeros = (length: number, of: 'f32' | 'u8') => Tensor.zeros(device, [length], of);
    const state =
      op === 'adamw'
        ? [zeros(n, 'f32'), zeros(n, 'f32')]
        : [zeros(n, 'u8'), zeros(blocks, 'f32'), zeros(n, 'u8'), zeros(blocks, 'f32')];
    using p = Tensor.from(device, Float32Array.from(start), [n], dtype);
    using gradient = Tensor.from(device, g);
    using lr = Tensor.from(device, [learningRate]);
    using stepNumber = Tensor.from(device, Int32Array.of(number));
    const attributes = [0.9, 0.999, 1e-8, weightDecay, seed, purpose, first];
    launch(op, [lr, stepNumber, null, p, gradient, ...state, null], attributes);
    for (const tensor of state) tensor.dispose();
    return p.readFloats();
  }

  const n = 33_001;
  const gradients = Float32Array.from(normal(7, 0.1)(n));
  const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const float = (word: number) => new Float32Array(Uint32Array.of(word).buffer)[0]!;
  const weights = Float32Array.from(normal(3, 0.2)(n), (value) => float((bits(value) & 0xffff0000) >>> 0));

  it('rounds the f32 update by the word of its element', async () => {
    const [seed, purpose, number] = [2 ** 40 + 5, 77, 3];
    const exact = await step(weights, gradients, 'f32', [rate, decay, number, seed, purpose]);
    const rounded = await step(weights, gradients, 'bf16', [rate, decay, number, seed, purpose]);
    let up = 0;
    for (const [index, value] of exact.entries()) {
      const word = randomWord(seed, purpose, number, index) >>> 16;
      const expected = float(((bits(value) + word) & 0xffff0000) >>> 0);
      if (rounded[index] !== expected)
        throw new Error(`Expected element ${index} to be ${expected} but received ${rounded[index]}`);
      up += Number(expected > value);
    }
    expect(up / n).toBeGreaterThan(0.4);
    expect(up / n).toBeLessThan(0.6);
  });

  it('rounds a slice of a parameter as it rounds the whole', async () => {
    const whole = await step(weights, gradients, 'bf16', [rate, decay, 2, 5, 6]);
    for (const first of [256, 1024]) {
      const [part, g] = [weights.subarray(first, first + 999), gradients.subarray(first, first + 999)];
      expect(await step(part, g, 'bf16', [rate, decay, 2, 5, 6], first)).toEqual(whole.subarray(first, first + 999));
    }
  });

  it('draws other words for another seed, purpose and step, and the same for the same', async () => {
    const one = await step(weights, gradients, 'bf16', [rate, decay, 1, 5, 6]);
    expect(await step(weights, gradients, 'bf16', [rate, decay, 1, 5, 6])).toEqual(one);
    for (const [seed, purpose] of [
      [6, 6],
      [5, 7],
    ])
      expect(await step(weights, gradients, 'bf16', [rate, decay, 1, seed!, purpose!])).not.toEqual(one);
  });

  it('moves weights by the update on average, where rounding to nearest would leave them', async () => {
    const count = 65_536;
    const ones = new Float32Array(count).fill(1);
    // Without decay the first update is the rate: 1e-4, a fortieth of the bf16 step below 1.
    const after = await step(ones, new Float32Array(count).fill(0.1), 'bf16', [1e-4, 0, 1, 9, 1]);
    expect(new Set(after)).toEqual(new Set([1, 1 - 2 ** -8]));
    const moved = after.reduce((sum, value) => sum + (1 - value), 0) / count;
    const share = 1e-4 * 2 ** 8;
    // Five standard deviations of the mean of `count` draws.
    expect(Math.abs(moved - 1e-4)).toBeLessThan(5 * 2 ** -8 * Math.sqrt((share * (1 - share)) / count));
  });

  it('leaves weights alone that are not finite', async () => {
    const start = Float32Array.of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, 1);
    const after = await step(start, new Float32Array(4), 'bf16', [rate, decay, 1, 5, 6]);
    expect([...after.subarray(0, 3)]).toEqual([...start.subarray(0, 3)]);
  });
});
