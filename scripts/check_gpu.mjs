// Checks a machine's GPU in three stages of at most eight minutes each. Needs the built tree, Node and CUDA's run-time libraries
// (scripts/bundle_gpu_check.mjs packs what must be there); what else a stage could use (compute-sanitizer, torch) is skipped loudly
// where it is missing.
//
//   node scripts/check_gpu.mjs [--stage parity|sanitize|bench] [--device cuda:0] [--python python3] [--out benchmarks/results]
//                              [--sanitizer compute-sanitizer]
//
// parity: every kernel against the CPU's, products row by row, a small model's tokens and training steps against the CPU's.
// sanitize: the kernels under compute-sanitizer's four tools. bench: every kernel and an 8B Llama, beside what the GPU can do.
// Without --stage all three. `--device cuda-emulated` runs the same on the host with tiny shapes, to see that it would run; it writes
// nothing unless --out says where.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bench } from './check_gpu/bench.mjs';
import { kernelCheck } from './check_gpu/kernels.mjs';
import { parity } from './check_gpu/parity.mjs';
import { Report } from './check_gpu/report.mjs';
import { sanitize } from './check_gpu/sanitize.mjs';
import { Stage } from './check_gpu/stage.mjs';

const stageSeconds = 8 * 60 - 10; // the rest is for starting and writing
const stages = { parity, sanitize, bench };
const { values } = parseArgs({
  options: {
    stage: { type: 'string' },
    device: { type: 'string', default: 'cuda:0' },
    python: { type: 'string', default: 'python3' },
    out: { type: 'string' },
    sanitizer: { type: 'string' },
  },
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130)); // what runs ends too

const fail = (message) => {
  console.error(`error: ${message}`);
  process.exit(2);
};
if (values.stage !== undefined && !(values.stage in stages))
  fail(`Expected --stage to be ${Object.keys(stages).join(', ')} but received '${values.stage}'`);
if (!/^cuda(:\d+|-emulated)$/.test(values.device))
  fail(`Expected --device to be cuda:N or cuda-emulated but received '${values.device}'`);
const emulated = values.device === 'cuda-emulated';
const out = values.out === undefined ? (emulated ? null : 'benchmarks/results') : resolve(values.out);
process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'));
const plugin = `build/Release/compress_distill_cuda${emulated ? '_emulated' : ''}.so`;
for (const path of [plugin, kernelCheck, 'dist/benchmarks/gpu/rows.js'])
  if (!existsSync(path))
    fail(`${path} is not there; run \`npm run build\` where nvcc is on PATH, and copy the whole folder`);

const hardware = probe();
let failed = 0;
for (const name of values.stage === undefined ? Object.keys(stages) : [values.stage]) {
  console.log(`== ${name} on ${values.device}: ${hardware}, commit ${commit()}`);
  const head = { stage: name, device: values.device, hardware, commit: commit(), date: new Date().toISOString() };
  const report = new Report(out, head);
  await stages[name](new Stage(stageSeconds, report), {
    device: values.device,
    python: values.python,
    sanitizer: values.sanitizer,
    emulated,
    plugin: join('.', plugin),
  });
  failed += report.summarise();
}
process.exit(failed > 0 ? 1 : 0);

/** One small kernel, so that a machine on which nothing can run says so once. @returns what the hardware is. */
function probe() {
  const index = /:(\d+)$/.exec(values.device)?.[1];
  // kernel-check takes the first GPU: so the chosen one becomes that, for everything that is started from here.
  if (index !== undefined && index !== '0') {
    process.env.CUDA_VISIBLE_DEVICES = index;
    values.device = 'cuda:0';
  }
  const { status, stdout, stderr } = spawnSync(kernelCheck, ['--backend', plugin, '--op', 'scale'], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  const [, description] = /^\S+: (.*) against \S+$/m.exec(stdout) ?? [];
  if (description === undefined)
    fail(stderr.trim().replace(/^kernel-check: /, '') || `kernel-check ended with ${status}`);
  return description;
}

/** That the tree was built from: a bundle has it written down. */
function commit() {
  if (existsSync('bundle.json')) return JSON.parse(readFileSync('bundle.json', 'utf8')).commit;
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'not known';
}
