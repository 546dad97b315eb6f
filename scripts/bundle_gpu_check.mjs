// Packs what scripts/check_gpu.mjs needs on a machine that has a GPU, CUDA's run-time libraries, and perhaps nothing else: the built
// libraries, the compiled TypeScript, the packages that it imports, and Node itself.
//
//   node scripts/bundle_gpu_check.mjs [--out build/gpu-check.tar.gz] [--folder DIR]
//
// There: `tar -xzf gpu-check.tar.gz && gpu-check/check --stage parity --out results`. With --folder the same is laid out in a folder
// and not packed.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { out: { type: 'string', default: 'build/gpu-check.tar.gz' }, folder: { type: 'string' } },
});
const archive = resolve(values.out);
const given = values.folder === undefined ? null : resolve(values.folder);
process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'));

const fail = (message) => {
  console.error(`error: ${message}`);
  process.exit(1);
};
const mebibytes = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Files below a folder, as paths. */
const filesOf = (folder) =>
  readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));

const libraries = readdirSync('build/Release').filter(
  (name) =>
    name === 'kernel-check' ||
    name.endsWith('.node') ||
    /^compress_distill_(cpu_\w+|cuda|cuda_emulated)\.so$/.test(name),
);
for (const needed of ['compress_distill_cuda.so', 'compress_distill.node', 'kernel-check'])
  if (!libraries.includes(needed))
    fail(`build/Release/${needed} is not there; run \`npm run build\` where nvcc is on PATH`);
const compiled = ['dist/src', 'dist/models', 'dist/benchmarks'].flatMap(filesOf).filter((path) => path.endsWith('.js'));

const files = [
  'package.json',
  'LICENSE',
  'scripts/check_gpu.mjs',
  ...filesOf('scripts/check_gpu'),
  ...filesOf('benchmarks/peers').filter((path) => path.endsWith('.py')),
  ...libraries.map((name) => join('build/Release', name)),
  ...compiled,
  ...[...packagesOf(compiled)].sort().flatMap((name) => packageFiles(name)),
];

const parent = given === null ? mkdtempSync(join(tmpdir(), 'gpu-check-')) : null;
const folder = given ?? join(parent, 'gpu-check');
for (const file of files) if (existsSync(file)) copy(file, join(folder, file));
copy(realpathSync(process.execPath), join(folder, 'node'));
if (given === null) spawnSync('strip', [join(folder, 'node')]); // where there is no strip, it stays larger
copy('scripts/check_gpu/check.sh', join(folder, 'check'));
const about = { commit: commit(), date: new Date().toISOString(), node: process.version, libraries };
writeFileSync(join(folder, 'bundle.json'), `${JSON.stringify(about, null, 1)}\n`);
const size = filesOf(folder).reduce((bytes, path) => bytes + statSync(path).size, 0);
if (given !== null) console.log(`${given}: ${mebibytes(size)}`);
else {
  mkdirSync(dirname(archive), { recursive: true });
  const { status, stderr } = spawnSync('tar', ['-czf', archive, '-C', parent, 'gpu-check'], { encoding: 'utf8' });
  rmSync(parent, { recursive: true });
  if (status !== 0) fail(`tar: ${stderr.trim()}`);
  console.log(
    `${values.out}: ${mebibytes(statSync(archive).size)}, ${mebibytes(size)} unpacked; ${libraries.join(', ')}`,
  );
}

function copy(from, to) {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to);
}

/** Packages that modules import, and those that these need. */
function packagesOf(modules) {
  const found = new Set();
  const add = (name) => {
    if (found.has(name)) return;
    found.add(name);
    const { dependencies = {} } = JSON.parse(readFileSync(join('node_modules', name, 'package.json'), 'utf8'));
    for (const needed of Object.keys(dependencies)) if (existsSync(join('node_modules', needed))) add(needed);
  };
  for (const path of modules)
    for (const [, , specifier] of readFileSync(path, 'utf8').matchAll(/\b(from|import)\s*\(?\s*'([^'.][^']*)'/g)) {
      const name = /^(@[^/]+\/[^/]+|[^/]+)/.exec(specifier)[1];
      if (!name.startsWith('node:') && !builtinModules.includes(name) && existsSync(join('node_modules', name)))
        add(name);
    }
  return found;
}

/** What of a package runs. */
function packageFiles(name) {
  return filesOf(join('node_modules', name)).filter(
    (path) =>
      /\.(js|mjs|cjs|json|wasm)$/.test(path) &&
      !/\/(test|tests|docs)\//.test(path.slice(`node_modules/${name}`.length)),
  );
}

function commit() {
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'not known';
}
