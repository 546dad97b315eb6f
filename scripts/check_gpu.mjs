// Checks a machine's GPU in three stages of at most eight minutes each. Needs the built tree, Node and CUDA's run-time libraries;
// what else a stage could use (compute-sanitizer, torch) is skipped loudly where it is missing.
//
//   node scripts/check_gpu.mjs [--stage parity|sanitize|bench] [--device cuda:0] [--python python3] [--out benchmarks/results]
//
// parity: every kernel against the CPU's, products row by row, a small model's tokens and training steps against the CPU's.
// sanitize: the kernels under compute-sanitizer's four tools. bench: every kernel and an 8B Llama, beside what the GPU can do.
// Without --stage all three. `--device cuda-emulated` runs the same on the host with tiny shapes, to see that it would run.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bench } from './check_gpu/bench.mjs';
import { parity } from './check_gpu/parity.mjs';
import { Runner } from './check_gpu/runner.mjs';
import { sanitize } from './check_gpu/sanitize.mjs';

process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'));

const stages = { parity, sanitize, bench };
const { values } = parseArgs({
  options: {
    stage: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    python: { type: 'string', default: 'python3' },
    out: { type: 'string', default: 'benchmarks/results' },
  },
});

const fail = (message) => {
  console.error(`error: ${message}`);
  process.exit(2);
};
if (values.stage !== undefined && !(values.stage in stages))
  fail(`Expected --stage to be ${Object.keys(stages).join(', ')} but received '${values.stage}'`);
if (!/^cuda(:\d+|-emulated)$/.test(values.device))
  fail(`Expected --device to be cuda:N or cuda-emulated but received '${values.device}'`);
const emulated = values.device === 'cuda-emulated';
const plugin = `build/Release/compress_distill_cuda${emulated ? '_emulated' : ''}.so`;
for (const path of [plugin, 'build/Release/kernel-check', 'dist/benchmarks/gpu/rows.js'])
  if (!existsSync(path))
    fail(`${path} is not there; run \`npm run build\` where nvcc is on PATH, and copy the whole folder`);

let failed = 0;
for (const name of values.stage === undefined ? Object.keys(stages) : [values.stage]) {
  const runner = new Runner(name, 8 * 60);
  console.log(`== ${name} on ${values.device}`);
  await stages[name](runner, { ...values, emulated, plugin: join('.', plugin) });
  failed += runner.summarise();
}
process.exit(failed > 0 ? 1 : 0);
