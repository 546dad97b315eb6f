import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readQuestions } from '../../src/data/questions.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'questions-'));
});
afterAll(() => rm(folder, { recursive: true }));

async function questionsOf(text: string, limit?: number) {
  const path = join(folder, 'questions.jsonl');
  await writeFile(path, text);
  return readQuestions(path, limit);
}

const good = '{"id":"a","question":"1+1?","answer":"2","answerType":"number"}';

it('reads rows, skips blank lines, a byte order mark and Windows line ends', async () => {
  const rows = await questionsOf(
    `\uFEFF${good}\r\n\r\n{"id":7,"question":"Is it?","answer":true,"answerType":"boolean","source":"x"}\n`,
  );
  expect(rows).toEqual([
    { id: 'a', question: '1+1?', answer: '2', answerType: 'number' },
    { id: '7', question: 'Is it?', answer: 'true', answerType: 'boolean' },
  ]);
});

it('stops at the limit without reading what follows', async () => {
  expect(await questionsOf(`${good}\nnot json`, 1)).toHaveLength(1);
});

it.each([
  [`${good}\n{"id":`, /questions\.jsonl:2: Expected one JSON value per line/],
  [`${good}\n\n${good}`, /questions\.jsonl:3: Expected 'id' to be unique but received 'a' again \(line 1\)/],
  ['{"id":"a","question":"x","answer":"2"}', /questions\.jsonl:1: Expected a valid 'answerType'/],
  [
    '{"id":"a","question":"x","answer":"many","answerType":"number"}',
    /:1: Expected 'answer' to be a number but received "many"/,
  ],
  ['[]', /questions\.jsonl:1: /],
])('reports file and line of %j', async (text, message) => {
  await expect(questionsOf(text)).rejects.toThrow(message);
});

it('says so when there is no such file', async () => {
  await expect(readQuestions(join(folder, 'none.jsonl'))).rejects.toThrow(/none\.jsonl.*there is no such file/);
});
