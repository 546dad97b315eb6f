/** Products through cuBLASLt, or rather what stands in for it on the host: a row's bits depend on that row alone, whatever it does. */
import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/native.js';

function run(
  behaviour: string,
  command: string,
  ...args: string[]
): { status: number | null; text: string; warnings: string[] } {
  const env = { ...process.env, COMPRESS_DISTILL_EMULATION_CUBLASLT: behaviour };
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: packageRoot, env, encoding: 'utf8' });
  return { status, text: stdout + stderr, warnings: stderr.split('\n').filter((line) => line !== '') };
}

const rows = (behaviour: string) => run(behaviour, process.execPath, 'dist/benchmarks/gpu/rows.js', 'cuda-emulated');

describe.each(['agree', 'differ', 'unfit'])('a cuBLASLt whose algorithms %s', (behaviour) => {
  it('gives a row the same bits among any number of rows', { timeout: 60_000 }, () => {
    const { status, text, warnings } = rows(behaviour);
    expect(text).toMatch(/ 0 failed$/m);
    expect(status).toBe(0);
    const shapes = ['N=72, K=40 in bf16', 'N=33, K=50 in bf16', 'N=72, K=40 in f32', 'N=33, K=50 in f32'];
    const told = shapes.map(
      (shape) =>
        `warning: cuBLASLt has no algorithms for products with ${shape} that agree on a row's bits for every number of rows; ` +
        'the kernels of this project compute them',
    );
    expect(warnings).toEqual(behaviour === 'unfit' ? told : []);
  });

  it('is right for every layout, few rows and accumulation included', { timeout: 60_000 }, () => {
    const { text } = run(
      behaviour,
      'build/Release/kernel-check',
      '--op',
      'matmul',
      '--order',
      'forward',
      '--case',
      ' x 5 x ',
    );
    expect(text).toMatch(/^\d{2,} cases, 0 failed\./m);
  });
});
