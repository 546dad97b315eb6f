import { expect, test } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { run, temporaryFolder } from './command.js';

const folder = temporaryFolder();
const bench = (...args: string[]) => run(['bench', ...args], folder());
const quick = ['--samples', '2', '--sample-ms', '1', '--threads', '1'];

test('an operation: floor, time and what they give, as JSON', () => {
  const shape = { M: 7, N: 33, K: 64 };
  const { status, stdout, stderr } = bench('matmul', '--shape', '7x33x64', '--dtype', 'bf16', ...quick, '--json');
  expect(status, stderr).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ benchmark: 'matmul', shape, dtype: 'bf16', device: 'cpu', threads: 1, warm: false });
  const { time, floor, rates } = result;
  expect(time.samples).toBe(2);
  expect(time.best).toBeGreaterThan(0);
  expect(time.median).toBeGreaterThanOrEqual(time.best);
  const flops = 2 * 7 * 33 * 64;
  const bytes = 2 * (7 * 64 + 33 * 64 + 7 * 33);
  expect(floor.operations * rates.flops.bf16).toBeCloseTo(flops, 3);
  expect(floor.bytes * Math.max(rates.copy, rates.read)).toBeCloseTo(bytes, 3);
  expect(floor.seconds).toBe(floor.operations + floor.bytes);
  expect(result.fractionOfFloor).toBeCloseTo(floor.seconds / time.median, 9);
  expect(result.gflops * 1e9 * time.median).toBeCloseTo(flops, 3);
  expect(result.gigabytesPerSecond * 1e9 * time.median).toBeCloseTo(bytes, 3);
  expect(result.peers).toEqual([]);
});

test('for people; operands that stay in a cache have no floor, and a peer that is not there says so', () => {
  const { status, stdout } = bench(
    'add',
    '--shape',
    'N=4096',
    '--warm',
    '--peer',
    '--python',
    'no-such-python',
    ...quick,
  );
  expect(status).toBe(0);
  expect(stdout).toMatch(/^add N=4096 f32\n/);
  expect(stdout).toMatch(/machine +f32 .* GFLOP\/s; copy .* GB\/s/);
  expect(stdout).toMatch(/floor +none/);
  expect(stdout).toMatch(/time +.* median, .* best of 2 × \d+ calls/);
  expect(stdout).toMatch(/peer +no torch: .*no-such-python/);
});

test('generation: tokens per second, floor and where the time goes', () => {
  const args = ['--model', modelFolder('tied'), '--shape', 'requests=3,input=5,output=4', '--samples', '1'];
  const { status, stdout, stderr } = bench('generate', ...args, '--json');
  expect(status, stderr).toBe(0);
  const result = JSON.parse(stdout);
  expect(result.shape).toEqual({ requests: 3, input: 5, output: 4 });
  expect(result.outputTokensPerSecond * result.time.median).toBeCloseTo(12, 6);
  expect(result.fractionOfFloor).toBeCloseTo(result.floor.seconds / result.time.median, 9);
  // A step for each token of a request; requests may come in one after the other.
  expect(result.details.steps).toBeGreaterThanOrEqual(4);
  expect(result.details.preemptions).toBe(0);
  const shares = result.profile.map(({ share }: { share: number }) => share);
  expect(shares.reduce((sum: number, share: number) => sum + share, 0)).toBeCloseTo(1, 9);
  expect(result.profile.find(({ op }: { op: string }) => op === 'sample').calls).toBe(result.details.steps);
  expect(bench('generate', ...args).stdout).toMatch(/output tokens\/s[\s\S]*steps +\d+; no kernel runs .* preemptions/);
});

test('list names everything; mistakes are one line', () => {
  const { stdout } = bench('list');
  for (const name of ['generate', 'matmul', 'paged-attention', 'cross-entropy', 'rms-norm'])
    expect(stdout).toContain(name);
  expect(bench('matmull').errors).toEqual([expect.stringContaining("did you mean 'matmul'?")]);
  expect(bench('matmul', '--shape', 'M=1,Q=2').errors).toEqual([expect.stringMatching(/M=64,N=1536,K=576.*'Q'/)]);
  expect(bench('matmul', '--samples', '0').status).toBe(1);
  expect(bench('generate', '--shape', 'request=1').errors).toEqual([expect.stringContaining("'requests'")]);
});
