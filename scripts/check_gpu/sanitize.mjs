// The kernels under compute-sanitizer: memory, races in shared memory, barriers, reads of what nobody wrote.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkArguments, hopperOn, hopperOperations, kernelCheck, operations, rowsOf } from './kernels.mjs';

const tools = ['memcheck', 'racecheck', 'synccheck', 'initcheck'];

function findSanitizer() {
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter((home) => home);
  const beside = homes.flatMap((home) => [join(home, 'bin'), join(home, 'compute-sanitizer')]);
  const paths = beside.map((folder) => join(folder, 'compute-sanitizer')).filter((path) => existsSync(path));
  return ['compute-sanitizer', ...paths].find((path) => spawnSync(path, ['--version']).status === 0) ?? null;
}

/** The first line of each complaint: the others say where. */
const complaint = (line) =>
  /^=+ ((?:Invalid|Error|Warning|Race|Barrier|Uninitialized|Program hit|Potential|Leaked|Internal).*)$/.exec(
    line,
  )?.[1] ?? null;

export async function sanitize(stage, { emulated, plugin, sanitizer: given }) {
  const sanitizer = given ?? (emulated ? null : findSanitizer());
  for (const [index, tool] of tools.entries()) {
    if (sanitizer === null) {
      stage.skip(tool, emulated ? 'emulation runs on the host' : 'no compute-sanitizer on PATH or under CUDA_HOME');
      continue;
    }
    const seconds = stage.secondsLeft / (tools.length - index);
    const until = Date.now() + seconds * 1000;
    // Our own products too: cuBLASLt's kernels are not ours to check.
    const check = (title, names, env) =>
      stage.list(title, names, {
        seconds: Math.max(0, (until - Date.now()) / 1000),
        patience: 90,
        start: (left) => ({
          command: sanitizer,
          args: [
            ...['--tool', tool, '--error-exitcode', '1', '--print-limit', '20', kernelCheck],
            ...checkArguments(plugin, emulated, left),
          ],
          env: { COMPRESS_DISTILL_MATMUL: 'plain', ...env },
        }),
        parse: rowsOf(complaint),
      });
    if (!emulated) await check(`${tool}, Hopper`, hopperOperations, hopperOn); // first: they are the newest
    await check(tool, operations(emulated), {});
  }
}
