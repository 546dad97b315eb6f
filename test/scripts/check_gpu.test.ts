/** The GPU check on a machine without a GPU: what it would run exists, and what is missing is told. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { benchmarks } from '../../scripts/check_gpu/bench.mjs';
import { findOpBench } from '../../src/bench/ops/index.js';
import { parseShape } from '../../src/bench/shape.js';
import { packageRoot } from '../../src/native.js';

const check = (...args: string[]) =>
  spawnSync(process.execPath, [join(packageRoot, 'scripts/check_gpu.mjs'), ...args], { encoding: 'utf8' });

it.each(benchmarks)('benchmarks %s with sizes that it has: %s', (what, shape) => {
  const bench = findOpBench(what);
  expect(parseShape(shape, bench.shape)).not.toEqual(bench.shape);
});

it('skips loudly what a machine lacks', () => {
  const { stdout, status } = check('--stage', 'sanitize', '--device', 'cuda-emulated');
  expect(stdout).toContain('!! SKIPPED memcheck: emulation runs on the host');
  expect(stdout).toContain('== sanitize: 0 passed, 0 failed, 4 skipped');
  expect(status).toBe(0);
});

it.each([
  [['--stage', 'speed'], "Expected --stage to be parity, sanitize, bench but received 'speed'"],
  [['--device', 'cpu'], "Expected --device to be cuda:N or cuda-emulated but received 'cpu'"],
])('refuses %s', (args, message) => {
  const { stderr, status } = check(...args);
  expect(stderr).toBe(`error: ${message}\n`);
  expect(status).toBe(2);
});
