// The 8-bit AdamW kernel against a numpy implementation of bitsandbytes' published algorithm.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { expectClose, goldenArrays, goldenJson } from '../support/fixtures.js';

interface Golden {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  block: number;
  steps: number;
  snapshots: number[];
  runs: Record<string, { weightDecay: number; gradientFactor: number; notFinite: [number, number, string][] }>;
}

const stateNames = ['p', 'mCodes', 'mAbsmax', 'vCodes', 'vAbsmax'] as const;
type State = Record<(typeof stateNames)[number], Tensor>;

const golden = goldenJson<Golden>('adamw_8bit.json');
const arrays = goldenArrays('adamw_8bit.safetensors');
const elements = arrays.get('start')!.data.length;
const runNames = Object.keys(golden.runs);

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterAll(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

function gradient(run: string, step: number): Float32Array {
  const values = (arrays.get('gradients')!.data as Float32Array).slice((step - 1) * elements, step * elements);
  for (const [at, element, value] of golden.runs[run]!.notFinite) if (at === step) values[element] = Number(value);
  return values;
}

function stateAt(run: string, step: number): State {
  const blocks = Math.ceil(elements / golden.block);
  if (step > 0) {
    const stored = stateNames.map((name) => [name, Tensor.from(device, arrays.get(`${run}/${step}/${name}`)!.data)]);
    return Object.fromEntries(stored) as State;
  }
  return {
    p: Tensor.from(device, arrays.get('start')!.data),
    mCodes: Tensor.zeros(device, [elements], 'u8'),
    mAbsmax: Tensor.zeros(device, [blocks]),
    vCodes: Tensor.zeros(device, [elements], 'u8'),
    vAbsmax: Tensor.zeros(device, [blocks]),
  };
}

/** State of `run` after `to` steps, started from the recorded state after `from`. */
async function train(run: string, from: number, to: number): Promise<Record<string, ArrayLike<number>>> {
  const { weightDecay, gradientFactor } = golden.runs[run]!;
  const state = scope(() => {
    const { p, mCodes, mAbsmax, vCodes, vAbsmax } = stateAt(run, from);
    const factor = Tensor.from(device, [gradientFactor]);
    for (let step = from + 1; step <= to; step += 1) {
      const g = Tensor.from(device, gradient(run, step));
      const learningRate = Tensor.from(device, [golden.learningRate]);
      const stepNumber = Tensor.from(device, Int32Array.of(step));
      const attributes = [golden.beta1, golden.beta2, golden.eps, weightDecay, 0, 0, 0];
      const state = [p, g, mCodes, mAbsmax, vCodes, vAbsmax, null];
      launch('adamw_8bit', [learningRate, stepNumber, factor, ...state], attributes);
    }
    return { p, mCodes, mAbsmax, vCodes, vAbsmax };
  });
  const read = await Promise.all(stateNames.map(async (name) => [name, await state[name].read()] as const));
  for (const tensor of Object.values(state)) tensor.dispose();
  return Object.fromEntries(read);
}

/** A value within rounding of the middle between two codes may take either; nothing else may differ. */
function expectCodesClose(run: string, step: number, state: Record<string, ArrayLike<number>>): void {
  for (const name of ['mCodes', 'vCodes']) {
    const expected = arrays.get(`${run}/${step}/${name}`)!.data;
    const distances = Array.from(expected, (code, index) => Math.abs(code - state[name]![index]!));
    expect(Math.max(...distances), `${run} ${name}`).toBeLessThanOrEqual(1);
    expect(distances.filter((distance) => distance > 0).length, `${run} ${name}`).toBeLessThanOrEqual(elements / 100);
  }
}

describe.each(runNames)('8-bit AdamW, run %s', (run) => {
  const starts = [0, ...golden.snapshots].filter((step) => golden.snapshots.includes(step + 1));

  it.each(starts)('makes the step after step %i', async (from) => {
    const state = await train(run, from, from + 1);
    const expected = (name: string) => arrays.get(`${run}/${from + 1}/${name}`)!.data;
    for (const name of ['p', 'mAbsmax', 'vAbsmax']) expectClose(state[name]!, expected(name), 1e-6, `${run} ${name}`);
    expectCodesClose(run, from + 1, state);
  });

  it('ends 50 steps where the reference does', async () => {
    const state = await train(run, 0, golden.steps);
    const expected = arrays.get(`${run}/${golden.steps}/p`)!.data;
    const errors = Array.from(expected, (value, index) => Math.abs(value - state.p![index]!));
    expect(errors.reduce((sum, error) => sum + error, 0) / elements).toBeLessThan(1e-6);
    expectCodesClose(run, golden.steps, state);
  });
});
