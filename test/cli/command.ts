// Runs the built command the way a shell does. `npm test` builds it first.
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { afterEach, beforeEach } from 'vitest';

const main = resolve('dist/src/cli/main.js');

export interface Outcome {
  status: number | null;
  stdout: string;
  /** The lines that start with `error:`. */
  errors: string[];
  stderr: string;
}

/** The environment of a command: plain text, and a cache of models that is empty unless a test names another. */
function environment(cwd: string, own: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (!existsSync(main)) throw new Error('Expected dist/src/cli/main.js to be built; run `npm run build`');
  return { ...process.env, NO_COLOR: '1', COMPRESS_DISTILL_CACHE: join(cwd, 'cache'), ...own };
}

export function run(args: readonly string[], cwd: string, own: NodeJS.ProcessEnv = {}): Outcome {
  const options = { cwd, env: environment(cwd, own), encoding: 'utf8' } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], options);
  return { status, stdout, stderr, errors: stderr.split('\n').filter((line) => line.startsWith('error:')) };
}

/** Starts the command and leaves it running. */
export function start(args: readonly string[], cwd: string): ChildProcessByStdio<null, null, Readable> {
  return spawn(process.execPath, [main, ...args], {
    cwd,
    env: environment(cwd, {}),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

/** A new folder for every test of the file; its getter is to be called within tests. */
export function temporaryFolder(): () => string {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'command-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  return () => folder;
}

export function writeRows(path: string, rows: readonly unknown[]): string {
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return path;
}

export function readRows<T>(path: string): T[] {
  const lines = readFileSync(path, 'utf8').trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as T);
}
