// What `prestart` and `pretest` run: checks the machine, installs packages, builds the addon and compiles TypeScript.
// Node built-ins only, since nothing is installed yet when it first runs. A step whose inputs did not change is skipped.
//
//   node scripts/setup.mjs [--only packages|native|typescript] [--force]
import { existsSync, lstatSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import { delimiter, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { takeTurns } from './setup/lock.mjs';
import { checkPrerequisites } from './setup/prerequisites.mjs';
import { hashOf, Stamp } from './setup/stamp.mjs';
import { Log, StepError } from './setup/step.mjs';

process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'));

/** A compiler instance of the addon takes up to about this much memory. */
const bytesPerJob = 2 ** 30;

function hasNvcc() {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, 'nvcc')));
}

const steps = [
  {
    name: 'packages',
    stamp: new Stamp('node_modules/.setup-stamp'),
    prerequisites: ['Node', 'platform', 'disk'],
    hash: () => hashOf(['package-lock.json'], { extra: [process.version, process.platform, process.arch] }),
    async run(log) {
      if (existsSync('node_modules') && lstatSync('node_modules').isSymbolicLink()) return; // its owner installs
      const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm'];
      const args = [...npm.slice(1), 'ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error'];
      const remedy = 'check the network and the npm registry (npm ping), then start again';
      await log.run('Installing packages', npm[0], args, { remedy });
    },
  },
  {
    name: 'native',
    stamp: new Stamp('build/.native-stamp'),
    prerequisites: ['instruction sets', 'cmake', 'C++20 compiler', 'build tool', 'disk'],
    hash() {
      const variables = ['CC', 'CXX', 'CXXFLAGS', 'COMPRESS_DISTILL_CUDA', 'COMPRESS_DISTILL_CUDA_ARCHITECTURES'];
      const extra = [process.arch, String(hasNvcc()), ...variables.map((name) => process.env[name] ?? '')];
      return hashOf(['native', 'kernels', 'CMakeLists.txt', 'package-lock.json'], { extra });
    },
    async run(log) {
      const jobs = Math.max(1, Math.min(os.availableParallelism(), Math.floor(os.freemem() / bytesPerJob)));
      const args = ['node_modules/cmake-js/bin/cmake-js', 'build', '--out', 'build', '--parallel', String(jobs)];
      const remedy = 'see the compiler output above; after moving the folder, delete build/ and start again';
      await log.run(`Building the native addon (${jobs} at a time)`, process.execPath, args, { remedy });
      if (process.env.COMPRESS_DISTILL_CUDA === 'OFF')
        process.stderr.write('CUDA is left out, as COMPRESS_DISTILL_CUDA=OFF says: work runs on the CPU\n');
      else if (!hasNvcc()) process.stderr.write('CUDA is left out, as no nvcc is on PATH: work runs on the CPU\n');
    },
  },
  {
    name: 'typescript',
    stamp: new Stamp('dist/.setup-stamp'),
    prerequisites: ['Node'],
    hash() {
      const extra = [hashOf(['tsconfig.json', 'package-lock.json'])];
      return hashOf(['src', 'models', 'test', 'benchmarks'], { accept: (file) => file.endsWith('.ts'), extra });
    },
    async run(log) {
      const args = ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'];
      await log.run('Compiling TypeScript', process.execPath, args, { remedy: 'mend the type errors above' });
      removeOrphans('dist');
    },
  },
];

/** Deletes compiled files whose source is gone, so that no test runs that nobody wrote. */
function removeOrphans(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile() || !entry.name.endsWith('.js')) continue;
    const compiled = join(entry.parentPath ?? entry.path, entry.name);
    if (existsSync(relative('dist', compiled).replace(/\.js$/, '.ts'))) continue;
    for (const path of [compiled, `${compiled}.map`, compiled.replace(/\.js$/, '.d.ts')]) rmSync(path, { force: true });
  }
}

function demand(prerequisites) {
  const problems = checkPrerequisites(prerequisites).flatMap(({ problem }) => problem ?? []);
  if (problems.length === 0) return;
  for (const problem of problems) process.stderr.write(`error: ${problem}\n`);
  process.exit(1);
}

async function main() {
  const args = process.argv.slice(2);
  const force = args.includes('--force');
  const only = args.includes('--only') ? args[args.indexOf('--only') + 1] : undefined;
  const chosen = steps.filter(({ name }) => only === undefined || only === name);
  const names = steps.map(({ name }) => name).join(', ');
  if (chosen.length === 0) throw new StepError(`Expected --only to be one of ${names} but received '${only}'`, '');
  const isStale = (step) => force || !step.stamp.matches(step.hash());
  if (!chosen.some(isStale)) return;

  demand([...new Set(chosen.filter(isStale).flatMap(({ prerequisites }) => prerequisites))]);
  const release = await takeTurns('build/setup.lock');
  try {
    const log = new Log('build/setup.log');
    for (const step of chosen) {
      if (!isStale(step)) continue;
      const hash = step.hash();
      step.stamp.clear();
      await step.run(log);
      step.stamp.write(hash);
    }
  } finally {
    release();
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

try {
  await main();
} catch (error) {
  if (!(error instanceof StepError)) throw error;
  const tail = error.tail.trimEnd().split('\n').slice(-40).join('\n');
  process.stderr.write(`${tail}${tail ? '\n' : ''}error: ${error.message}\n`);
  process.exit(1);
}
