import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createDocument } from '../../../src/training/documents.js';
import { loadObjective } from '../../../src/training/objectives/load.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'objective-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function write(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

it('compiles a TypeScript file with what it imports, and leaves nothing behind', async () => {
  await write('helper.ts', 'export const half = (value: number): number => value / 2;');
  const file = await write(
    'mine.ts',
    `import type { Objective } from 'compress-distill';
     import { half } from './helper.ts';
     export default ((_, { scale }) => half(4) as unknown as ReturnType<typeof scale>) satisfies Objective;`,
  );
  const { objective, checkRow, name } = await loadObjective(file, { beta: 1 });
  expect(objective({} as never, {} as never)).toBe(2);
  expect(checkRow).toBe(null);
  expect(name).toBe(file);
  expect((await readdir(folder)).sort()).toEqual(['helper.ts', 'mine.ts']);
});

it('is shown in the README as the example has it, in at most 40 lines', () => {
  const source = readFileSync('examples/objectives/weighted.ts', 'utf8');
  expect(source.split('\n').length).toBeLessThanOrEqual(40);
  expect(readFileSync('README.md', 'utf8')).toContain(source.slice(source.indexOf('import')));
});

it('takes JavaScript, and tells files apart by their contents', async () => {
  const first = await loadObjective(await write('a.mjs', 'export default () => 1; export const checkRow = () => {};'));
  const second = await loadObjective(await write('b.mjs', 'export default () => 2;'));
  expect(first.checkRow).toBeTypeOf('function');
  expect(first.fingerprint).not.toBe(second.fingerprint);
});

it('tells files apart by what they import, too', async () => {
  const file = await write('with.mjs', "import { x } from './constant.mjs'; export default () => x;");
  await write('constant.mjs', 'export const x = 1;');
  const { fingerprint } = await loadObjective(file);
  await write('constant.mjs', 'export const x = 2;');
  expect((await loadObjective(file)).fingerprint).not.toBe(fingerprint);
});

it.each([
  [
    'a misspelt name',
    'wieghted',
    null,
    /^Expected 'objective' to be cross-entropy, weighted, .*\(did you mean 'weighted'\?\)$/,
  ],
  ['a file that is missing', 'absent.ts', null, /absent\.ts: Expected 'objective' to be a readable file/],
  [
    'a syntax error',
    'syntax.ts',
    'export default (',
    /syntax\.ts: Expected valid TypeScript but received .*syntax\.ts\(1,\d+\).*error/,
  ],
  [
    'no default export',
    'none.ts',
    'export const objective = 1;',
    /none\.ts: Expected 'export default' of a function .* received undefined/,
  ],
  [
    'a check that is none',
    'check.mjs',
    'export default () => 1; export const checkRow = 3;',
    /'checkRow' to be a function/,
  ],
  [
    'a missing import',
    'import.ts',
    "import x from 'no-such-package'; export default () => x;",
    /import\.ts: Expected a module that loads .*no-such-package/,
  ],
])('refuses %s', async (_, name, text, message) => {
  const file = text === null && !name.includes('.') ? name : join(folder, name);
  if (text !== null) await write(name, text);
  const error = await loadObjective(file).then(
    () => null,
    (reason: Error) => reason,
  );
  expect(error?.name).toBe('UserError');
  expect(error!.message).toMatch(message);
  expect(error!.message).not.toContain('\n');
});

it('refuses options that a built-in does not have', async () => {
  await expect(loadObjective('length-weighted', { exponnent: 1 })).rejects.toThrow(
    /^objectiveOptions: Unknown key 'exponnent' \(did you mean 'exponent'\?\)/,
  );
  await expect(loadObjective('weighted', { exponent: 1 })).rejects.toThrow(/Unknown key 'exponent'/);
});

const top = [
  { token: 7, logprob: -0.1 },
  { token: 8, logprob: -3 },
];
it.each([
  ['weighted', {}, /'weight' \(a number\) or 'weights'/],
  ['weighted', { weights: [1] }, /Expected 'weights' to have an entry for each of the 2 trained tokens but received 1/],
  ['weighted', { weight: 'a' }, /Expected 'weight' to be a number/],
  ['forward-kl', {}, /Expected 'teacher' to be an array/],
  ['forward-kl', { teacher: [{ top }] }, /Expected 'teacher' to have an entry for each of the 2 trained tokens/],
  [
    'reverse-kl',
    { teacher: [{ top }, { top: top.slice(1) }] },
    /'teacher\.1\.top' to be non-empty \(at least 2 long\)/,
  ],
  ['reverse-kl', { teacher: [{ top }, { token: 9, top }] }, /'teacher\[1\]' to be about token 8 but it is about 9/],
  ['reverse-kl', { teacher: [{ top }, { top: [top[0], top[0]] }] }, /'teacher\[1\]\.top' to name every token once/],
])('%s refuses a row with %j', async (name, data, message) => {
  const { checkRow } = await loadObjective(name);
  expect(() => checkRow!(createDocument('a', [6, 7, 8], [-1, 7, 8], data))).toThrow(message);
});
