import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import {
  AdamW,
  type AdamWOptions,
  disposeGradients,
  gradientNorm,
  zeroGradients,
} from '../../src/training/optimizer.js';
import { uniform } from '../../src/training/philox.js';
import { expectClose } from '../support/fixtures.js';

const options: AdamWOptions = { bits: 32, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0 };
const draw = (stream: number, count: number, size = 1) => uniform(11, 1, stream, count, -size, size);

/** torch.optim.AdamW in f64. */
function referenceAdamW(start: Float32Array, gradients: Float32Array[], rates: number[], decay: number): Float64Array {
  const p = Float64Array.from(start);
  const m = new Float64Array(p.length);
  const v = new Float64Array(p.length);
  for (const [index, gradient] of gradients.entries()) {
    const step = index + 1;
    for (let i = 0; i < p.length; ++i) {
      p[i]! *= 1 - rates[index]! * decay;
      m[i] = 0.9 * m[i]! + 0.1 * gradient[i]!;
      v[i] = 0.999 * v[i]! + 0.001 * gradient[i]! ** 2;
      const denominator = Math.sqrt(v[i]! / (1 - 0.999 ** step)) + 1e-8;
      p[i]! -= (rates[index]! * (m[i]! / (1 - 0.9 ** step))) / denominator;
    }
  }
  return p;
}

describe('AdamW', () => {
  let device: Device;
  let parameters: Map<string, Tensor>;
  let before: number;

  beforeEach(() => {
    device = Device.open('cpu', { threads: 2 });
    before = device.statistics().liveTensors;
    parameters = new Map();
  });
  afterEach(async () => {
    disposeGradients(parameters);
    for (const tensor of parameters.values()) tensor.dispose();
    expect(device.statistics().liveTensors).toBe(before);
    await device.close();
  });

  const add = (name: string, data: Float32Array, shape: number[], dtype: 'f32' | 'bf16' = 'f32') => {
    const tensor = Tensor.from(device, data, shape, dtype);
    tensor.requiresGrad = true;
    parameters.set(name, tensor);
    return tensor;
  };

  it('follows torch over twenty steps with weight decay', async () => {
    const matrix = add('layer.weight', draw(1, 35), [5, 7]);
    const vector = add('norm.weight', draw(2, 9), [9]);
    zeroGradients(parameters);
    const optimizer = new AdamW(parameters, { ...options, weightDecay: 0.1 });
    const rates = Array.from({ length: 20 }, (_, step) => 0.01 * (1 - step / 40));
    const gradients = rates.map((_, step) => [draw(100 + step, 35), draw(200 + step, 9)] as const);
    for (const [step, [forMatrix, forVector]] of gradients.entries()) {
      matrix.grad!.write(forMatrix);
      vector.grad!.write(forVector);
      optimizer.step(rates[step]!, step + 1, null);
    }
    const expectedMatrix = referenceAdamW(
      draw(1, 35),
      gradients.map(([g]) => g),
      rates,
      0.1,
    );
    const expectedVector = referenceAdamW(
      draw(2, 9),
      gradients.map(([, g]) => g),
      rates,
      0.1,
    );
    expectClose(await matrix.readFloats(), expectedMatrix, 1e-6, 'matrix');
    expectClose(await vector.readFloats(), expectedVector, 1e-6, 'vector');
    optimizer.dispose();
  });

  it('keeps f32 masters of bf16 weights, so that small updates are not lost', async () => {
    const weight = add('layer.weight', new Float32Array(64).fill(1), [8, 8], 'bf16');
    zeroGradients(parameters);
    const optimizer = new AdamW(parameters, options);
    weight.grad!.write(new Float32Array(64).fill(1));
    // Each update moves a weight by about 1e-4, a fortieth of a bf16 step at 1.
    for (let step = 1; step <= 100; ++step) optimizer.step(1e-4, step, null);
    const master = await optimizer.state().get('layer.weight.master')!.readFloats();
    const low = await weight.readFloats();
    expect(Math.abs(master[5]! - 0.99)).toBeLessThan(1e-5);
    expect(Math.abs(low[5]! - master[5]!)).toBeLessThanOrEqual(2 ** -9);
    optimizer.dispose();
  });

  it('keeps 32-bit moments for small tensors and embeddings, 8-bit ones elsewhere', () => {
    add('layer.weight', draw(1, 4096), [64, 64]);
    add('small.weight', draw(1, 4095), [1, 4095]);
    add('model.embed_tokens.weight', draw(1, 8192), [128, 64]);
    const optimizer = new AdamW(parameters, { ...options, bits: 8 });
    const state = optimizer.state();
    expect([...state.keys()]).toEqual([
      ...['master', 'mCodes', 'mAbsmax', 'vCodes', 'vAbsmax'].map((moment) => `layer.weight.${moment}`),
      ...['master', 'm', 'v'].map((moment) => `small.weight.${moment}`),
      ...['master', 'm', 'v'].map((moment) => `model.embed_tokens.weight.${moment}`),
    ]);
    expect(state.get('layer.weight.mCodes')!.dtype).toBe('u8');
    expect(state.get('layer.weight.mAbsmax')!.shape).toEqual([16]);
    optimizer.dispose();
  });

  it('stays close to 32-bit moments with 8-bit ones', async () => {
    const run = async (bits: 8 | 32): Promise<Float32Array> => {
      const weight = Tensor.from(device, draw(1, 8200), [82, 100]);
      const own = new Map([['layer.weight', weight]]);
      zeroGradients(own);
      const optimizer = new AdamW(own, { ...options, bits });
      for (let step = 1; step <= 50; ++step) {
        weight.grad!.write(draw(step, 8200, 0.01));
        optimizer.step(1e-3, step, null);
      }
      const result = await weight.readFloats();
      optimizer.dispose();
      disposeGradients(own);
      weight.dispose();
      return result;
    };
    const [low, high] = [await run(8), await run(32)];
    const difference = low.reduce((sum, value, i) => sum + Math.abs(value - high[i]!), 0) / low.length;
    const moved = high.reduce((sum, value, i) => sum + Math.abs(value - draw(1, 8200)[i]!), 0) / high.length;
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(0.1 * moved);
  }, 60_000);

  it('measures the norm over all gradients and scales the update to the limit', async () => {
    const first = add('a.weight', draw(1, 6), [2, 3]);
    const second = add('b.weight', draw(2, 4), [4]);
    zeroGradients(parameters);
    first.grad!.write(Float32Array.of(1, 2, 3, 4, 5, 6));
    second.grad!.write(Float32Array.of(-1, -2, 0, 2));
    const clipped = gradientNorm(parameters, 2);
    const free = gradientNorm(parameters, 0);
    expect((await clipped.norm.readFloats())[0]).toBeCloseTo(10, 5);
    expect((await clipped.factor.readFloats())[0]).toBeCloseTo(0.2, 6);
    expect((await free.factor.readFloats())[0]).toBe(1);
    for (const tensor of [...Object.values(clipped), ...Object.values(free)]) tensor.dispose();
  });
});
