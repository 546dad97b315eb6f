import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';

let clone: string;
beforeEach(() => {
  clone = mkdtempSync(join(tmpdir(), 'clone-'));
  cpSync('scripts', join(clone, 'scripts'), { recursive: true });
  for (const folder of ['native', 'kernels', 'src', 'bin']) mkdirSync(join(clone, folder));
  writeFileSync(join(clone, 'package-lock.json'), '{}');
  writeFileSync(join(clone, 'tsconfig.json'), '{}');
});
afterEach(() => rmSync(clone, { recursive: true }));

/** A program on the clone's own PATH. */
function tool(name: string, script: string): void {
  writeFileSync(join(clone, 'bin', name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

/** Stands in for npm, cmake-js and tsc, and leaves what they would leave. */
function installTools(): void {
  tool('cmake', 'echo cmake version 3.25.1');
  tool('c++', 'echo c++ 12.2.0');
  tool('make', 'echo GNU Make 4.3');
  tool('npm', `echo npm >> calls; mkdir -p node_modules; cp -r fake/* node_modules/`);
  for (const [path, name] of [
    ['cmake-js/bin/cmake-js', 'cmake-js'],
    ['typescript/bin/tsc', 'tsc'],
  ] as const) {
    mkdirSync(join(clone, 'fake', path, '..'), { recursive: true });
    const failing = `if (require('node:fs').existsSync('fail-${name}')) { console.error('broken ${name}'); process.exit(2); }`;
    writeFileSync(
      join(clone, 'fake', path),
      `require('node:fs').appendFileSync('calls', '${name}\\n'); require('node:fs').mkdirSync('dist', { recursive: true }); ${failing}`,
    );
  }
}

function setup(path = join(clone, 'bin')) {
  const env = { PATH: [path, '/bin', '/usr/bin'].slice(0, path === '' ? 1 : 3).join(delimiter) };
  const result = spawnSync(process.execPath, [join(clone, 'scripts', 'setup.mjs')], { env, encoding: 'utf8' });
  return { status: result.status, lines: result.stderr.trimEnd().split('\n') };
}

function calls(): string[] {
  return readFileSync(join(clone, 'calls'), 'utf8').trimEnd().split('\n');
}

test('what is missing is named with its remedy, a line each, and nothing is written', () => {
  const before = readdirSync(clone);
  const { status, lines } = setup('');
  expect(status).toBe(1);
  expect(lines).toHaveLength(3);
  expect(lines[0]).toMatch(/^error: cmake 3\.20\.0 or newer is needed .*install.* cmake$/);
  expect(lines[1]).toMatch(/^error: A C\+\+20 compiler is needed .*install.* g\+\+$/);
  expect(lines[2]).toMatch(/^error: make or ninja is needed .*install.* make$/);
  expect(readdirSync(clone)).toEqual(before);
});

test('an old tool is as good as none', () => {
  installTools();
  tool('cmake', 'echo cmake version 3.9.6');
  const { status, lines } = setup();
  expect(status).toBe(1);
  expect(lines).toEqual([expect.stringMatching(/^error: cmake 3\.20\.0 or newer is needed, this is 3\.9\.6: /)]);
});

test('each step runs once, and again when what it reads has changed', () => {
  installTools();
  expect(setup().status).toBe(0);
  expect(calls()).toEqual(['npm', 'cmake-js', 'tsc']);
  expect(setup()).toEqual({ status: 0, lines: [''] });
  expect(calls()).toHaveLength(3);

  writeFileSync(join(clone, 'src', 'new.ts'), '');
  setup();
  expect(calls().slice(3)).toEqual(['tsc']);
  writeFileSync(join(clone, 'native', 'new.cpp'), '');
  setup();
  expect(calls().slice(4)).toEqual(['cmake-js']);
  writeFileSync(join(clone, 'package-lock.json'), '{"lockfileVersion": 3}');
  setup();
  expect(calls().slice(5)).toEqual(['npm', 'cmake-js', 'tsc']);
});

test('a failed step shows the end of its output, and is tried again', () => {
  installTools();
  writeFileSync(join(clone, 'fail-tsc'), '');
  const { status, lines } = setup();
  expect(status).toBe(1);
  expect(lines.slice(-2)).toEqual([
    'broken tsc',
    expect.stringMatching(/^error: Compiling TypeScript failed .* \(full log: build\/setup\.log\)$/),
  ]);
  rmSync(join(clone, 'fail-tsc'));
  expect(setup().status).toBe(0);
  expect(calls()).toEqual(['npm', 'cmake-js', 'tsc', 'tsc']);
});
