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

test('the file appears at the end, and what was there stays until then', () => {
  writeFileSync(path, '{"id":"old"}\n');
  const output = new RowOutput(path, 'work');
  output.append({ id: 'a' });
  expect(ids()).toEqual(['old']);
  output.finish();
  expect(ids()).toEqual(['a']);
  expect(readdirSync(folder)).toEqual(['out.jsonl']);
});

test('a stopped run is continued, a torn row and an id without all its rows come again', () => {
  const first = new RowOutput(path, 'work', 2);
  first.append({ id: 'a' });
  first.append({ id: 'b' });
  first.append({ id: 'a' });
  first.stop();
  appendFileSync(first.partialPath, '{"id":"b"');
  expect(existsSync(path)).toBe(false);

  const second = new RowOutput(path, 'work', 2);
  expect([...second.finishedIds]).toEqual(['a']);
  expect(second.rows).toBe(2);
  second.append({ id: 'b' });
  second.append({ id: 'b' });
  second.finish();
  expect(ids()).toEqual(['a', 'a', 'b', 'b']);
});

test('a row that failed is tried again', () => {
  const first = new RowOutput(path, 'work');
  first.append({ id: 'a', error: 'too long' });
  first.append({ id: 'b' });
  first.stop();
  const second = new RowOutput(path, 'work');
  expect([...second.finishedIds]).toEqual(['b']);
  second.stop();
});

test('other parameters do not go on from it', () => {
  const first = new RowOutput(path, { temperature: 0 });
  first.append({ id: 'a' });
  first.stop();
  const second = new RowOutput(path, { temperature: 1 });
  expect(second.finishedIds.size).toBe(0);
  second.stop();
  expect(readdirSync(folder)).toHaveLength(1);
});

test('a path that cannot become a file is refused with the remedy', () => {
  expect(() => checkOutput(join(folder, 'none', 'out.jsonl'))).toThrow(/mkdir -p .*none/);
  expect(() => checkOutput(folder)).toThrow(/give the path of a file/);
});
