import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkPrompts, type PromptRow, readPrompts } from '../../src/cli/prompts.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prompts-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function file(...lines: string[]): string {
  const path = join(folder, 'in.jsonl');
  writeFileSync(path, lines.join('\n'));
  return path;
}

test('the three kinds of rows', async () => {
  const path = file(
    '{"id": "a", "prompt": "Hello"}',
    '{"id": 2, "tokens": [1, 2, 3]}',
    '',
    '{"id": "c", "messages": [{"role": "user", "content": "Hi"}], "note": "ignored"}',
  );
  expect(await checkPrompts(path)).toBe(3);
  const rows: PromptRow[] = [];
  for await (const row of readPrompts(path)) rows.push(row);
  expect(rows).toEqual([
    { id: 'a', prompt: 'Hello' },
    { id: 2, prompt: [1, 2, 3] },
    { id: 'c', prompt: [{ role: 'user', content: 'Hi' }] },
  ]);
});

test.each([
  ['not JSON', ['{"id": "a", "prompt": "x"}', '{"id": "b", "prompt": "x"'], /in\.jsonl:2: .*JSON/],
  ['no id', ['{"prompt": "x"}'], /in\.jsonl:1: .*'id'/],
  ['no prompt', ['{"id": "a", "promt": "x"}'], /in\.jsonl:1: .*'prompt', 'messages' and 'tokens'.*received id, promt/],
  ['two prompts', ['{"id": "a", "prompt": "x", "tokens": [1]}'], /in\.jsonl:1: .*prompt and tokens/],
  ['a bad message', ['{"id": "a", "messages": [{"role": "user"}]}'], /in\.jsonl:1: .*messages\.0\.content/],
  ['a bad token', ['{"id": "a", "tokens": [1, -2]}'], /in\.jsonl:1: .*tokens\.1/],
  ['an id twice', ['{"id": "1", "prompt": "x"}', '{"id": 1, "prompt": "y"}'], /in\.jsonl:2: .*unique.*line 1/],
  ['nothing', [''], /in\.jsonl: Expected at least one row/],
])('%s is refused with file and line', async (_, lines, message) => {
  await expect(checkPrompts(file(...lines))).rejects.toThrow(message);
});
