/** The GPU check on a machine without a GPU: what it would run exists and runs in emulation, from a bundle that holds all it needs. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { benchmarks } from '../../scripts/check_gpu/bench.mjs';
import { hopperOperations } from '../../scripts/check_gpu/kernels.mjs';
import { type Row, Stage } from '../../scripts/check_gpu/stage.mjs';
import { findOpBench, opBenches } from '../../src/bench/ops/index.js';
import { parseShape } from '../../src/bench/shape.js';
import { packageRoot } from '../../src/native.js';

const run = (script: string, ...args: string[]) =>
  spawnSync(process.execPath, [join(packageRoot, 'scripts', script), ...args], { encoding: 'utf8' });

it.each(benchmarks)('benchmarks %s with sizes that it has: %s', (what, shape) => {
  const bench = findOpBench(what);
  expect(parseShape(shape, bench.shape)).not.toEqual(bench.shape);
});

it('benchmarks every operation that has a benchmark', () => {
  const benchmarked = new Set(benchmarks.map(([what]) => findOpBench(what).op));
  expect(opBenches.filter(({ op }) => !benchmarked.has(op)).map(({ op }) => op)).toEqual([]);
});

it('knows which operations have a kernel for Hopper', () => {
  // The folders of these are those with a file that asks for them.
  const kernels = join(packageRoot, 'kernels');
  const asking = readdirSync(kernels, { recursive: true, encoding: 'utf8' }).filter(
    (path) =>
      /\.(cu|h|cpp)$/.test(path) &&
      !path.startsWith('common') &&
      /\bhopperKernels\(\)/.test(readFileSync(join(kernels, path), 'utf8')),
  );
  const folders = new Set(asking.map((path) => path.split('/')[0]!));
  expect(folders.size).toBeGreaterThan(0);
  const ops = readFileSync(join(packageRoot, 'kernels/ops.def'), 'utf8').matchAll(/^X\((\w+), (\w+)\)/gm);
  const folderOf = new Map([...ops].map(([, op, folder]) => [op!, folder!]));
  expect(hopperOperations.filter((op) => !folderOf.has(op))).toEqual([]);
  expect(new Set(hopperOperations.map((op) => folderOf.get(op)))).toEqual(folders);
});

it.each([
  [['--stage', 'speed'], "Expected --stage to be parity, sanitize, bench but received 'speed'"],
  [['--device', 'cpu'], "Expected --device to be cuda:N or cuda-emulated but received 'cpu'"],
])('refuses %s', (args, message) => {
  const { stderr, status } = run('check_gpu.mjs', ...args);
  expect(stderr).toBe(`error: ${message}\n`);
  expect(status).toBe(2);
});

describe('a list of work', () => {
  /** Says of each item what its name tells: `good`, `bad`, `crash`, `hang`. */
  const program = `for (const item of process.argv.slice(1)) {
    if (item.startsWith('crash')) { console.error('out of luck'); process.kill(process.pid, 'SIGABRT'); }
    if (item.startsWith('hang')) { setInterval(() => {}, 1000); break; }
    console.log('done ' + item);
    if (item.startsWith('lost')) process.exit(1);
  }`;
  async function work(items: string[], times: { seconds: number; patience: number }): Promise<string[]> {
    const rows: Row[] = [];
    const stage = new Stage(60, { row: (row) => rows.push(row), measured: () => {} });
    await stage.list('work', items, {
      ...times,
      start: (left) => ({ command: process.execPath, args: ['-e', program, ...left] }),
      parse(line) {
        const [, item] = /^done (.*)/.exec(line) ?? [];
        return item === undefined ? null : { item, ...(/^(bad|lost)/.test(item) ? { failed: 'it says so' } : {}) };
      },
    });
    return rows.map(({ what, verdict, detail }) => `${what} ${verdict} ${detail}`.trim());
  }

  it('goes on behind what crashes, hangs or fails', { timeout: 60_000 }, async () => {
    const rows = await work(['good1', 'crash', 'good2', 'bad', 'lost', 'hang', 'good3'], { seconds: 50, patience: 4 });
    expect(rows).toEqual([
      'work, good1 passed',
      'work, crash failed ended with SIGABRT: out of luck',
      'work, good2 passed',
      'work, bad failed it says so',
      'work, lost failed it says so',
      'work, hang failed nothing for 4 s',
      'work, good3 passed',
    ]);
  });

  it('tells what its time did not suffice for', { timeout: 60_000 }, async () => {
    const rows = await work(['good', 'hang', 'good2'], { seconds: 4, patience: 50 });
    expect(rows).toEqual([
      'work, good passed',
      'work, hang skipped the 4 s of this part are spent',
      'work, good2 skipped the 4 s of this part are spent',
    ]);
  });
});

describe('a bundle', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'gpu-check-'));
    const { status, stderr } = run('bundle_gpu_check.mjs', '--folder', join(folder, 'bundle'));
    expect(stderr).toBe('');
    expect(status).toBe(0);
    mkdirSync(join(folder, 'path'));
    // Complains of one operation under one tool.
    writeFileSync(
      join(folder, 'sanitizer'),
      `#!/bin/sh
tool=$2
shift 6
echo "========= COMPUTE-SANITIZER"
[ $tool != racecheck ] || echo "========= Error: Race reported between Write access at 0x10 and Read access"
exec "$@"
`,
    );
    chmodSync(join(folder, 'sanitizer'), 0o755);
  }, 60_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** With an environment in which nothing else can be found. */
  function check(stage: string, ...args: string[]) {
    const out = join(folder, 'results');
    const { stdout, stderr, status } = spawnSync(
      join(folder, 'bundle', 'check'),
      ['--stage', stage, '--device', 'cuda-emulated', '--out', out, ...args],
      { encoding: 'utf8', cwd: folder, env: { PATH: join(folder, 'path'), HOME: folder } },
    );
    const name = join(out, `gpu-CUDA-kernels-emulated-on-the-host-${stage}`);
    return {
      stdout,
      problems: `${stderr}${stdout.match(/^!! FAILED .*$/gm)?.join('\n') ?? ''}`,
      status,
      page: readFileSync(`${name}.md`, 'utf8'),
      data: JSON.parse(readFileSync(`${name}.json`, 'utf8')) as Record<string, { verdict: Row['verdict'] }[]> & {
        commit: string;
      },
    };
  }

  it('holds all that parity needs', { timeout: 300_000 }, () => {
    const { stdout, problems, status, page, data } = check('parity');
    expect(problems).toBe('');
    expect(status).toBe(0);
    expect(stdout).toContain('!! SKIPPED our own products in place of cuBLASLt: emulation has no cuBLASLt');
    expect(stdout).toMatch(/^== parity: \d+ passed, 0 failed, 1 skipped$/m);
    expect(page).toMatch(/^\| rows of products \| passed \| \d/m);
    expect(data.commit).toMatch(/\S/);
  });

  it('holds all that the sanitizers need, and tells what they say', { timeout: 300_000 }, () => {
    expect(check('sanitize').stdout).toContain('== sanitize: 0 passed, 0 failed, 4 skipped');
    const { stdout, status } = check('sanitize', '--sanitizer', join(folder, 'sanitizer'));
    expect(stdout).toContain('!! FAILED racecheck, scale: Error: Race reported between Write access');
    expect(stdout).toMatch(/^== sanitize: \d+ passed, 1 failed, 0 skipped$/m);
    expect(status).toBe(1);
  });

  it('holds all that bench needs', { timeout: 300_000 }, () => {
    const { stdout, problems, status, page, data } = check('bench');
    expect(problems).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^== bench: \d+ passed, 0 failed, 0 skipped$/m);
    expect(data.operations!.length).toBeGreaterThan(25);
    expect(data.models).toHaveLength(8);
    expect(page).toMatch(/^\| attention \| B=1 L=9 .* \| .* \| .* \| .* \| \d.*s \| \d.* % \| – \| – \|$/m);
  });
});
