// The kernels under compute-sanitizer: memory, races in shared memory, barriers, reads of what nobody wrote.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const tools = ['memcheck', 'racecheck', 'synccheck', 'initcheck'];

function findSanitizer() {
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter((home) => home);
  const beside = homes.flatMap((home) => [join(home, 'bin'), join(home, 'compute-sanitizer')]);
  const paths = beside.map((folder) => join(folder, 'compute-sanitizer')).filter((path) => existsSync(path));
  return ['compute-sanitizer', ...paths].find((path) => spawnSync(path, ['--version']).status === 0) ?? null;
}

export async function sanitize(runner, { emulated, plugin }) {
  const sanitizer = emulated ? null : findSanitizer();
  const missing = emulated ? 'emulation runs on the host' : 'no compute-sanitizer on PATH or under CUDA_HOME';
  for (const tool of tools) {
    if (sanitizer === null) {
      runner.skip(tool, missing);
      continue;
    }
    // Our own products too: cuBLASLt's kernels are not ours to check.
    const args = ['--tool', tool, '--error-exitcode', '9', '--print-limit', '20', 'build/Release/kernel-check'];
    const options = { env: { COMPRESS_DISTILL_MATMUL: 'plain' }, seconds: Math.max(5, runner.secondsLeft / 2) };
    await runner.run(tool, sanitizer, [...args, '--backend', plugin], options);
  }
}
