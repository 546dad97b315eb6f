import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { closureFingerprint } from '../src/import_closure.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'closure-'));
  mkdirSync(join(folder, 'a/lib'), { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, text: string) => writeFileSync(join(folder, 'a', name), text);
const fingerprint = () => closureFingerprint([join(folder, 'a/mine.ts')]);

/** Whether the fingerprint is another one once `name` holds something else. */
function dependsOn(name: string): boolean {
  const before = fingerprint();
  write(name, 'export const x = 2;');
  return fingerprint() !== before;
}

it.each([
  ["import { x } from './lib/x.ts';", 'lib/x.ts'],
  ["import {\n  x,\n  y as z,\n} from './lib/x.js';", 'lib/x.ts'],
  ["import * as x from '../a/lib/x.mjs'", 'lib/x.mjs'],
  ["import './lib/x.ts';", 'lib/x.ts'],
  ["export * from './lib/x.ts';", 'lib/x.ts'],
  ["export { x } from './lib/x.ts';", 'lib/x.ts'],
  ["const { x } = await import('./lib/x.ts');", 'lib/x.ts'],
  ["import data from './lib/x.json' with { type: 'json' };", 'lib/x.json'],
])('%s is followed', (statement, name) => {
  write('mine.ts', statement);
  write(name, 'export const x = 1;');
  expect(dependsOn(name)).toBe(true);
});

it('follows what is imported by what is imported, in circles too', () => {
  write('mine.ts', "import './lib/x.ts';");
  write('lib/x.ts', "import './y.ts'; import '../mine.ts';");
  write('lib/y.ts', '');
  expect(dependsOn('lib/y.ts')).toBe(true);
});

it('leaves out types, packages, files beside it and what leads nowhere', () => {
  write('mine.ts', "import type { X } from './types.ts';\nimport 'node:fs';\nconst text = \"import './absent.ts'\";");
  write('types.ts', '');
  write('beside.ts', '');
  expect(dependsOn('types.ts')).toBe(false);
  expect(dependsOn('beside.ts')).toBe(false);
});

it('does not depend on where the files lie', () => {
  write('mine.ts', "import './lib/x.ts';");
  write('lib/x.ts', '');
  const before = fingerprint();
  renameSync(join(folder, 'a'), join(folder, 'b'));
  expect(closureFingerprint([join(folder, 'b/mine.ts')])).toBe(before);
});
