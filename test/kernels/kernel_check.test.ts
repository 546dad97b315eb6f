/** kernel-check, the native executable that compares every CUDA kernel with the CPU's: emulated, with planted bugs, and sanitized. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { hopperOn, hopperOperations } from '../../scripts/check_gpu/kernels.mjs';
import { packageRoot } from '../../src/native.js';

const run = promisify(execFile);
const built = (name: string) => join(packageRoot, 'build', 'Release', name);

async function output(command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const options = { env: { ...process.env, ...env }, maxBuffer: 1 << 24 };
  return run(command, args, options).then(
    ({ stdout, stderr }) => stdout + stderr,
    (error: { code: unknown; stdout: string; stderr: string }) => {
      throw new Error(`${command} ended with ${error.code}:\n${error.stdout}${error.stderr}`);
    },
  );
}

describe('kernel-check', () => {
  it('finds every kernel right in every order of warps', { timeout: 300_000 }, async () => {
    expect(await output(built('kernel-check'), [])).toMatch(/^\d{3,} cases, 0 failed\./m);
  });

  it('finds every planted bug', { timeout: 300_000 }, async () => {
    const found = await output(built('kernel-check'), ['--planted', built('kernel_check_planted.so')]);
    expect(found).toMatch(/^\d{2,} planted bugs, 0 missed\./m);
  });

  it('fails for an operation without cases, and where a bound is passed', async () => {
    const wrong = output(built('kernel-check'), ['--op', 'scale', '--backend', built('kernel_check_planted.so')]);
    await expect(wrong).rejects.toThrow('has no compress_distill_backend');
    await expect(output(built('kernel-check'), ['--op', 'no_such'])).rejects.toThrow('no case fits');
    await expect(output(built('kernel-check'), ['--orders', 'forward'])).rejects.toThrow("unknown option '--orders'");
  });

  it('runs the kernels for Hopper where they are asked for', { timeout: 300_000 }, async () => {
    const found = await output(
      built('kernel-check'),
      hopperOperations.flatMap((op) => ['--op', op]),
      hopperOn,
    );
    expect(found).toMatch(/^\d{2,} cases, 0 failed\./m);
  });

  it('touches nothing beyond its tensors, watched by the sanitizers', { timeout: 600_000 }, async () => {
    const name = 'compress_distill_cuda_emulated_sanitized';
    await output('cmake', ['--build', join(packageRoot, 'build'), '--target', name]);
    const { stdout } = await run(process.env.CXX ?? 'c++', ['-print-file-name=libasan.so']);
    const found = await output(built('kernel-check'), ['--backend', built(`${name}.so`), '--order', 'seed:2'], {
      LD_PRELOAD: stdout.trim(),
    });
    expect(found).toMatch(/^\d{3,} cases, 0 failed\./m);
  });
});
