import { appendFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkOutput, RowOutput } from '../../src/cli/row_output.js';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'rows-'));
  path = join(folder, 'out.jsonl');
});
afterEach(() => rmSync(folder, { recursive: true }));

function ids(): (string | number)[] {
  return readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { id: string }).id);
}

test('the file appears at the end, and what was there stays until then', async () => {
  writeFileSync(path, '{"id":"old"}\n');
  const output = await RowOutput.open(path, 'work');
  output.append({ id: 'a' });
  expect(ids()).toEqual(['old']);
  output.finish();
  expect(ids()).toEqual(['a']);
  expect(readdirSync(folder)).toEqual(['out.jsonl']);
});

test('a stopped run is continued, a torn row and an id without all its rows come again', async () => {
  const first = await RowOutput.open(path, 'work', () => 2);
  first.append({ id: 'a' });
  first.append({ id: 'b' });
  first.append({ id: 'a' });
  first.stop();
  appendFileSync(first.partialPath, '{"id":"b"');
  expect(existsSync(path)).toBe(false);

  const second = await RowOutput.open(path, 'work', () => 2);
  expect(['a', 'b'].map((id) => second.isFinished(id))).toEqual([true, false]);
  expect(second.rows).toBe(2);
  second.append({ id: 'b' });
  second.append({ id: 'b' });
  second.finish();
  expect(ids()).toEqual(['a', 'a', 'b', 'b']);
});

test('a row that failed is tried again', async () => {
  const first = await RowOutput.open(path, 'work');
  first.append({ id: 'a', error: 'too long' });
  first.append({ id: 'b' });
  first.stop();
  const second = await RowOutput.open(path, 'work');
  expect(['a', 'b'].map((id) => second.isFinished(id))).toEqual([false, true]);
  second.stop();
});

test('an id may have another number of rows than the next', async () => {
  const rowsOf = (id: string): number => (id === 'three' ? 3 : 1);
  const first = await RowOutput.open(path, 'work', rowsOf);
  for (const id of ['three', 'one', 'three', 'three', 7]) first.append({ id });
  first.stop();
  const second = await RowOutput.open(path, 'work', (id) => rowsOf(id) + (id === '7' ? 1 : 0));
  expect(['one', 'three', '7'].map((id) => second.isFinished(id))).toEqual([true, true, false]);
  expect(second.rows).toBe(4);
  second.stop();
});

test('other parameters do not go on from it', async () => {
  const first = await RowOutput.open(path, { temperature: 0 });
  first.append({ id: 'a' });
  first.stop();
  const second = await RowOutput.open(path, { temperature: 1 });
  expect([second.rows, second.isFinished('a')]).toEqual([0, false]);
  second.stop();
  expect(readdirSync(folder)).toHaveLength(1);
});

test('a path that cannot become a file is refused with the remedy', () => {
  expect(() => checkOutput(join(folder, 'none', 'out.jsonl'))).toThrow(/mkdir -p .*none/);
  expect(() => checkOutput(folder)).toThrow(/give the path of a file/);
});
