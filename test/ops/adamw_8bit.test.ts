/** Fifty steps of 8-bit AdamW: code for code with the algorithm in plain f64, and close to AdamW with f32 state. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { dynamicMap, type State8bit, step8bit } from './harness/adamw_8bit.js';
import { normal } from './harness/data.js';

const n = 5000;
const blocks = Math.ceil(n / 256);
const steps = 50;
const settings = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };
const weights = Float32Array.from(normal(1, 0.1)(n));
const gradientOf = (step: number) => Float32Array.from(normal(1000 + step, 0.01)(n));
const maps = { m: dynamicMap(true), v: dynamicMap(false) };

const meanDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
};

it('has the maps that bitsandbytes publishes', () => {
  expect(maps.m.length).toBe(256);
  expect(maps.v.length).toBe(256);
  expect(maps.m[0]).toBeCloseTo(-0.99296875, 8);
  expect(maps.m[126]).toBeCloseTo(-5.5e-7, 12);
  expect(maps.m[127]).toBe(0);
  expect(maps.m[255]).toBe(1);
  expect(maps.v[0]).toBe(0);
  expect(maps.v[254]).toBeCloseTo(0.99648437, 7);
});

describe.each(['cpu', 'cpu-chaos'])('on %s', (name) => {
  let device: Device;
  let p: Tensor;
  let full: Tensor;
  let m: Tensor;
  let v: Tensor;
  let state: [mCodes: Tensor, mAbsmax: Tensor, vCodes: Tensor, vAbsmax: Tensor];

  beforeEach(() => {
    device = Device.open(name, { threads: 2 });
    const zeros = (length: number, dtype: 'f32' | 'u8') => Tensor.zeros(device, [length], dtype);
    p = Tensor.from(device, weights);
    state = [zeros(n, 'u8'), zeros(blocks, 'f32'), zeros(n, 'u8'), zeros(blocks, 'f32')];
    full = Tensor.from(device, weights);
    [m, v] = [zeros(n, 'f32'), zeros(n, 'f32')];
  });
  afterEach(async () => {
    for (const tensor of [p, full, m, v, ...state]) tensor.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  function step(number: number): void {
    using g = Tensor.from(device, gradientOf(number));
    using learningRate = Tensor.from(device, [settings.learningRate]);
    using stepNumber = Tensor.from(device, Int32Array.of(number));
    const { beta1, beta2, eps, weightDecay } = settings;
    const attributes = [beta1, beta2, eps, weightDecay, 0, 0, 0];
    launch('adamw_8bit', [learningRate, stepNumber, null, p, g, ...state, null], attributes);
    launch('adamw', [learningRate, stepNumber, null, full, g, m, v, null], attributes);
  }

  it('follows the published algorithm code for code', async () => {
    const expected: State8bit = {
      p: Float64Array.from(weights),
      mCodes: new Float64Array(n),
      mAbsmax: new Float64Array(blocks),
      vCodes: new Float64Array(n),
      vAbsmax: new Float64Array(blocks),
    };
    let otherCodes = 0;
    for (let number = 1; number <= steps; number += 1) {
      step(number);
      step8bit(expected, gradientOf(number), { ...settings, step: number });
      for (const [tensor, codes] of [
        [state[0], expected.mCodes],
        [state[2], expected.vCodes],
      ] as const)
        otherCodes += (await tensor.read()).filter((code, index) => code !== codes[index]).length;
    }
    // f32 and f64 part only where a moment lies within a few roundings of the middle between two codes.
    expect(otherCodes / (2 * steps * n)).toBeLessThan(1e-4);
    expect(meanDifference(await p.readFloats(), expected.p)).toBeLessThan(1e-6);
  });

  it('stays near AdamW with f32 state when both run on their own', async () => {
    for (let number = 1; number <= steps; number += 1) step(number);
    const [low, high] = [await p.readFloats(), await full.readFloats()];
    const [distance, moved] = [meanDifference(low, high), meanDifference(high, weights)];
    console.log(
      `${name}: after ${steps} steps of pure noise mean |Δp| is ${distance.toExponential(2)}, of ${moved.toExponential(2)} moved`,
    );
    expect(distance).toBeLessThan(0.05 * moved);
  });

  // The protocol of bitsandbytes' own test: after each step both go on from the state of the 8-bit optimizer.
  it('is within 6e-5 of AdamW with f32 state at every step from one state', async () => {
    for (let number = 1; number <= steps; number += 1) {
      step(number);
      expect(meanDifference(await p.readFloats(), await full.readFloats()), `step ${number}`).toBeLessThan(6e-5);
      full.write(await p.read());
      for (const [tensor, map, codes, absmax] of [
        [m, maps.m, state[0], state[1]],
        [v, maps.v, state[2], state[3]],
      ] as const) {
        const [code, scale] = [await codes.read(), await absmax.readFloats()];
        tensor.write(Float32Array.from({ length: n }, (_, i) => map[code[i]!]! * scale[Math.floor(i / 256)]!));
      }
    }
  });
});
