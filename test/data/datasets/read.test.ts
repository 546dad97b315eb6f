import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parquetWriteFile } from 'hyparquet-writer';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type DatasetSource, readDataset } from '../../../src/data/datasets/read.js';
import type { DatasetName } from '../../../src/data/datasets/registry.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'datasets-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(folder, path)), { recursive: true });
  await writeFile(join(folder, path), text);
}

const jsonl = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const solved = (...answers: number[]) =>
  answers.map((answer) => ({ question: `Which is ${answer}?`, answer: `So.\n#### ${answer}` }));

const load = (dataset: DatasetName, options: Partial<DatasetSource> = {}) =>
  readDataset({ dataset, path: folder, use: 'train', seed: 0, ...options });

it('reads parquet, whose 64-bit integers come as BigInt', async () => {
  await mkdir(join(folder, 'data'));
  parquetWriteFile({
    filename: join(folder, 'data', 'validation-00000-of-00001.parquet'),
    columnData: [
      { name: 'goal', data: ['Open it', 'Close it'], type: 'STRING' },
      { name: 'sol1', data: ['pull', 'push'], type: 'STRING' },
      { name: 'sol2', data: ['wait', 'pull'], type: 'STRING' },
      { name: 'label', data: [0n, 1n], type: 'INT64' },
    ],
  });
  const questions = await load('piqa', { use: 'eval' });
  expect(questions.map(({ id, answer, dataset }) => [id, answer, dataset])).toEqual([
    ['piqa-validation-1', 'A', 'piqa'],
    ['piqa-validation-2', 'B', 'piqa'],
  ]);
});

it('takes the shards of the split and the configuration in order, and nothing else', async () => {
  await put('main/train-00001-of-00002.jsonl', jsonl(solved(3)));
  await put('main/train-00000-of-00002.jsonl', jsonl(solved(1, 2)));
  await put('main/test-00000-of-00001.jsonl', jsonl(solved(4)));
  await put('socratic/train-00000-of-00001.jsonl', jsonl(solved(5)));
  await put('README.md', 'train');
  const answers = async (options: Partial<DatasetSource>) => (await load('gsm8k', options)).map(({ answer }) => answer);
  expect(await answers({})).toEqual(['1', '2', '3']);
  expect(await answers({ use: 'eval' })).toEqual(['4']);
  expect(await answers({ path: join(folder, 'main', 'train-00001-of-00002.jsonl') })).toEqual(['3']);
});

it('reads a JSON array, and gives equal ids of a file different endings', async () => {
  const row = { id: 'x', question: 'Q', opa: 'a', opb: 'b', opc: 'c', opd: 'd', cop: 0 };
  await put('train.json', JSON.stringify([row, { ...row, question: 'R' }]));
  expect((await load('medmcqa')).map(({ id }) => id)).toEqual(['medmcqa-x', 'medmcqa-x-2']);
});

it('draws a sample by seed that a larger one contains, in the order of the file', async () => {
  await put('train.jsonl', jsonl(solved(...Array.from({ length: 50 }, (_, index) => index + 1))));
  const sample = async (count: number, seed: number) =>
    (await load('gsm8k', { count, seed })).map(({ answer }) => Number(answer));
  const [small, large] = [await sample(10, 1), await sample(30, 1)];
  expect(small).toHaveLength(10);
  expect(small).toEqual([...small].sort((a, b) => a - b));
  expect(large).toEqual(expect.arrayContaining(small));
  expect(await sample(10, 2)).not.toEqual(small);
  expect(await sample(99, 1)).toHaveLength(50);
});

it('takes the subjects and categories of MMLU that are asked for', async () => {
  const row = (subject: string) => ({ question: `About ${subject}`, subject, choices: ['a', 'b'], answer: 1 });
  await put('test.jsonl', jsonl(['virology', 'astronomy', 'sociology', 'anatomy'].map(row)));
  const subjects = async (wanted: string[]) =>
    (await load('mmlu', { use: 'eval', subjects: wanted })).map(({ group }) => group);
  expect(await subjects(['medical'])).toEqual(['virology', 'anatomy']);
  expect(await subjects(['stem', 'sociology'])).toEqual(['astronomy', 'sociology']);
  await expect(subjects(['astronmy'])).rejects.toThrow(/received 'astronmy' \(did you mean 'astronomy'\?\)/);
});

it('says where the data is to be had when there is none', async () => {
  await expect(load('gsm8k', { path: join(folder, 'none') })).rejects.toThrow(
    /Expected '.*none' to hold the split 'train' but found none; get 'gsm8k' from the Hugging Face Hub \(dataset openai\/gsm8k, configuration main\) as parquet, JSONL or JSON with the columns question, answer/,
  );
  await expect(load('gpqa', { use: 'eval' })).rejects.toThrow(/Expected 'split' to be given for 'gpqa'/);
});

it('names file and row of what is wrong', async () => {
  await put('train.jsonl', `${jsonl(solved(1))}{"question":"Q","answer":"#### many"}\n`);
  await expect(load('gsm8k')).rejects.toThrow(
    /train\.jsonl: row 2: Expected the answer to be a number but received "many"/,
  );
  await put('train.jsonl', `${jsonl(solved(1))}{"question":"Q","answer":3}\n`);
  await expect(load('gsm8k')).rejects.toThrow(/train\.jsonl: row 2: Expected a valid 'answer'/);
  await put('train.jsonl', '{"Question":"Q"}\n');
  await expect(load('gsm8k')).rejects.toThrow(/to have a column 'question'; get 'gsm8k'/);
  await put('train.parquet', 'PAR1 but not really PAR1');
  await expect(load('gsm8k', { path: join(folder, 'train.parquet') })).rejects.toThrow(/to be a readable parquet file/);
  await expect(load('gsm8k', { path: join(folder, 'train.csv') })).rejects.toThrow(/none; get/);
});
