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
  expect(await checkPrompts(path)).toMatchObject({ rows: 3, samples: 3 });
  const rows: PromptRow[] = [];
  for await (const row of readPrompts(path)) rows.push(row);
  expect(rows).toEqual([
    { id: 'a', prompt: 'Hello', sampling: {} },
    { id: 2, prompt: [1, 2, 3], sampling: {} },
    { id: 'c', prompt: [{ role: 'user', content: 'Hi' }], sampling: {} },
  ]);
});

test("a row's own sampling parameters", async () => {
  const path = file(
    '{"id": "a", "prompt": "x", "sampling": {"n": 3, "temperature": 0.5}, "continuation": "<think>"}',
    '{"id": 2, "prompt": "x", "logprobs": [null, -1.5]}',
  );
  const prompts = await checkPrompts(path, { n: 2 });
  expect([prompts.rows, prompts.samples]).toEqual([2, 5]);
  expect(['a', '2', 'b'].map(prompts.samplesOf)).toEqual([3, 2, 0]);
  const rows: PromptRow[] = [];
  for await (const row of readPrompts(path)) rows.push(row);
  expect(rows[0]).toEqual({
    id: 'a',
    prompt: 'x',
    sampling: { n: 3, temperature: 0.5 },
    continuation: '<think>',
  });
});

test.each([
  ['a misspelt parameter', '{"tempreature": 1}', /in\.jsonl:1: .*did you mean 'temperature'/],
  ["a parameter in Python's spelling", '{"max_tokens": 1}', /in\.jsonl:1: .*did you mean 'maxTokens'/],
  ['a value out of range', '{"topP": 2}', /in\.jsonl:1: Expected 'topP' to be a number over 0 and at most 1/],
  [
    'one that goes badly with an option',
    '{"minTokens": 9}',
    /in\.jsonl:1: Expected 'minTokens' to be at most 'maxTokens'/,
  ],
])('%s is refused with file and line', async (_, sampling, message) => {
  const path = file(`{"id": "a", "prompt": "x", "sampling": ${sampling}}`);
  await expect(checkPrompts(path, { maxTokens: 8 })).rejects.toThrow(message);
  expect((await checkPrompts(path)).rows).toBe(1); // where nothing is sampled
});

test('a parameter beside sampling is refused, not passed over', async () => {
  const path = file('{"id": "a", "prompt": "x", "temperature": 0}');
  await expect(checkPrompts(path, {})).rejects.toThrow(/in\.jsonl:1: Expected 'temperature' within 'sampling'/);
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
