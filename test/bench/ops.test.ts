import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { OpBench } from '../../src/bench/op_bench.js';
import { OpRunner } from '../../src/bench/op_runner.js';
import { benchName, findOpBench, opBenches, withoutBench } from '../../src/bench/ops/index.js';
import { measureRates } from '../../src/bench/rates.js';
import { native } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';

let device: Device;
beforeEach(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterEach(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

/** The default shape with its large sizes made small. */
const least: Record<string, number> = { T: 7, L: 19, B: 3, V: 97, N: 300, C: 33, M: 5, E: 64, I: 48, K: 40 };
function smallShape({ shape }: OpBench): Record<string, number> {
  const entries = Object.entries(shape);
  return Object.fromEntries(entries.map(([name, size]) => [name, Math.min(size, least[name] ?? size)]));
}

test('every operation has a benchmark, or a reason why not', () => {
  const names = native.listOps('cpu').map(({ name }) => name);
  const covered = [...opBenches.map(({ op }) => op), ...Object.keys(withoutBench)];
  expect(covered.sort()).toEqual([...names].sort());
});

describe.each(['f32', 'bf16'] as const)('%s', (dtype) => {
  test.each(opBenches.map((bench) => [benchName(bench), bench] as const))('%s runs', async (_, bench) => {
    const runner = new OpRunner(device, bench, { dtype, shape: smallShape(bench), span: 1 << 21 });
    const calls = (): number => device.profile().find(({ op }) => op === bench.op)?.calls ?? 0;
    await device.synchronize(); // operands are made by operations too
    const before = calls();
    expect(await runner.run(5)).toBeGreaterThan(0);
    expect(calls() - before).toBe(5);
    expect(runner.copies).toBeGreaterThan(1);
    expect(runner.bytes).toBeGreaterThan(0);
    runner.dispose();
  });
});

test('operations and bytes are those of the shape', () => {
  const counts = (name: string, shape: Record<string, number>, dtype: 'f32' | 'bf16' = 'f32') => {
    const bench = findOpBench(name);
    const runner = new OpRunner(device, bench, { dtype, shape: { ...bench.shape, ...shape }, span: 0 });
    const { flops, bytes, copies } = runner;
    runner.dispose();
    return { flops, bytes, copies };
  };
  expect(counts('matmul', { M: 2, N: 3, K: 5 })).toEqual({ flops: 60, bytes: 4 * (10 + 15 + 6), copies: 1 });
  expect(counts('add', { N: 10 }, 'bf16')).toEqual({ flops: 0, bytes: 60, copies: 1 });
  // Two documents of three tokens see 1 + 2 + 3 keys each, with two heads; q and o, k and v, cuSeqlens, lse.
  expect(counts('attention', { B: 2, L: 3, H: 2, G: 1, D: 8 })).toEqual({
    flops: 2 * 6 * 2 * 4 * 8,
    bytes: 4 * (2 * 6 * 2 * 8 + 2 * 6 * 8 + 3 + 6 * 2),
    copies: 1,
  });
  // Two new tokens after three: they see 4 and 5 keys.
  expect(counts('paged-attention', { B: 1, C: 5, Q: 2, H: 1, G: 1, D: 8 }).flops).toBe(4 * 8 * 9);
  // p, m and v are read and written, g is read; and learning rate and step.
  expect(counts('adamw', { N: 10 }).bytes).toBe(4 * 10 * 7 + 2 * 4);
});

test('a call that fails says why', async () => {
  const bench: OpBench = {
    op: 'embedding',
    computes: 'a row that is not there',
    shape: {},
    build: (make) => ({ tensors: [make.random([4, 8]), make.integers([9]), make.empty([1, 8])] }),
  };
  const runner = new OpRunner(device, bench, { dtype: 'f32', shape: {}, span: 0 });
  await expect(runner.run(1)).rejects.toThrow(/embedding.*9/);
  runner.dispose();
});

test('an unknown name gets the nearest', () => {
  expect(findOpBench('paged_attention').op).toBe('paged_attention');
  expect(findOpBench('linear-cross-entropy')).toBe(findOpBench('cross-entropy'));
  expect(() => findOpBench('rms-nrom')).toThrow("received 'rms-nrom' (did you mean 'rms-norm'?)");
});

test('rates are measured on the stream, and a device without them says so', async () => {
  const rates = await measureRates(device);
  for (const rate of [rates.flops.f32, rates.flops.bf16, rates.copy, rates.read]) expect(rate).toBeGreaterThan(1e6);
  expect(() => native.measureRate(device.id, 10 ** 6, 0)).toThrow();
});
