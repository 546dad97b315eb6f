// The other tests run on the best instruction set that the machine has; these run a part of them on each of the others.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { native, packageRoot } from '../../src/native.js';
import { goldenOutputs } from '../support/fixtures.js';
import type { InstructionSetReport } from './instruction_set_child.js';

const run = promisify(execFile);
const [best, ...others] = native.listInstructionSets();

it('there is one for this machine', () => {
  expect(best).toBeDefined();
});

it.for(others)('%s computes what it should', { timeout: 120_000 }, async (name, { skip }) => {
  const library = join(packageRoot, 'build', 'Release', `compress_distill_cpu_${name}.so`);
  skip(!existsSync(library), `${name} was not built`);
  const child = join(packageRoot, 'dist', 'test', 'ops', 'instruction_set_child.js');
  const { stdout } = await run(process.execPath, [child], { env: { ...process.env, COMPRESS_DISTILL_ISA: name } });
  const report = JSON.parse(stdout) as InstructionSetReport;
  expect(report.instructionSet).toBe(name);
  expect(report.wrong).toEqual([]);
  expect(report.cases).toBeGreaterThan(100);
  expect(report.greedy).toEqual(goldenOutputs('tied').greedy.map(({ tokens }) => tokens));
  expect(report.together).toEqual(report.alone);
  expect(Object.keys(report.alone)).toEqual(['f32', 'bf16']);
});
