import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DatasetOptions, loadDataset } from '../../src/training/dataset.js';
import { createDocument } from '../../src/training/documents.js';
import { resolveModel } from '../../src/weights/model_files.js';
import { goldenJson, goldenPath, modelFolder } from '../support/fixtures.js';
import { listOf } from './student.js';

describe('createDocument', () => {
  it('moves labels to the token before them and ignores the first', () => {
    const document = createDocument('a', [5, 6, 7, 8], [5, 6, -1, 8]);
    expect([...document.tokens]).toEqual([5, 6, 7, 8]);
    expect([...document.targets]).toEqual([6, -1, 8, -1]);
    expect(document.trained).toBe(2);
    expect(createDocument('one', [5], [5])).toMatchObject({ trained: 0 });
  });
});

describe('loadDataset', () => {
  let folder: string;
  let options: DatasetOptions;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dataset-'));
    const files = await resolveModel(modelFolder('chat'));
    files.weights.close();
    options = { model: files, maxTokens: 1000, overlong: 'drop', folder: join(folder, 'tokenised') };
  });
  afterAll(() => rm(folder, { recursive: true }));

  let files = 0;
  const write = async (...rows: unknown[]): Promise<string> => {
    const file = join(folder, `${++files}.jsonl`);
    await writeFile(file, rows.map((row) => `${typeof row === 'string' ? row : JSON.stringify(row)}\n`).join(''));
    return file;
  };
  const turn = (question: string, answer: string) => ({
    messages: [
      { role: 'user', content: question },
      { role: 'assistant', content: answer },
    ],
  });

  it('gives the tokens and targets of the golden conversations', async () => {
    const { documents } = goldenJson<{ documents: { tokens: number[]; labels: number[] }[] }>('chat.run.json');
    const dataset = await loadDataset([goldenPath('chat.run.jsonl')], options);
    const rows = listOf(dataset.documents);
    expect(rows.map(({ tokens }) => [...tokens])).toEqual(documents.map(({ tokens }) => tokens));
    expect(rows.map(({ targets }) => [...targets])).toEqual(documents.map(({ labels }) => [...labels.slice(1), -1]));
    expect(rows.map(({ id }) => id)).toEqual(['row-0', 'row-1', 'row-2', 'row-3']);
    const tokens = documents.reduce((sum, document) => sum + document.tokens.length, 0);
    expect(dataset.report).toMatchObject({ rows: 4, overlong: 0, tokens });
  });

  it('names rows without an id by file and line, and fingerprints the contents', async () => {
    const file = await write(turn('1+1?', '2'), '', turn('2+2?', '4'));
    const dataset = await loadDataset([file], options);
    expect(listOf(dataset.documents).map(({ id }) => id)).toEqual([`${file}:1`, `${file}:3`]);
    const again = await loadDataset([await write(turn('1+1?', '2'), turn('2+2?', '4'))], options);
    const other = await loadDataset([await write(turn('1+1?', '2'), turn('2+2?', '5'))], options);
    expect(again.fingerprint).toBe(dataset.fingerprint);
    expect(other.fingerprint).not.toBe(dataset.fingerprint);
  });

  it('counts over-long rows and drops, truncates or refuses them', async () => {
    const file = await write(turn('short?', 'yes'), turn('long?', 'no '.repeat(200)));
    const dropped = await loadDataset([file], { ...options, maxTokens: 60 });
    expect(dropped.documents.count).toBe(1);
    expect(dropped.report).toMatchObject({ rows: 2, overlong: 1, dropped: 1, truncated: 0 });
    const truncated = await loadDataset([file], { ...options, maxTokens: 60, overlong: 'truncate' });
    expect(truncated.documents.at(1).tokens).toHaveLength(60);
    expect(truncated.documents.at(1).trained).toBe(truncated.documents.at(1).targets.filter((id) => id >= 0).length);
    expect(truncated.report).toMatchObject({ overlong: 1, dropped: 0, truncated: 1 });
    expect(truncated.documents.at(1).targets.at(-1)).toBe(-1);
    await expect(loadDataset([file], { ...options, maxTokens: 60, overlong: 'error' })).rejects.toThrow(
      new RegExp(`^${file}:2: Expected at most 60 tokens but received \\d+; raise 'sequenceLength'`),
    );
  });

  it('drops a truncated row of which only the prompt is left', async () => {
    const file = await write(turn('why? '.repeat(100), 'so'), turn('short?', 'yes'));
    const dataset = await loadDataset([file], { ...options, maxTokens: 40, overlong: 'truncate' });
    expect(dataset.report).toMatchObject({ overlong: 1, truncated: 0, dropped: 1 });
  });

  it.each([
    ['{"messages": [', 'Expected one JSON value per line'],
    ['{"messages": []}', "Expected 'messages' to be non-empty"],
    ['{"id": 1}', "Expected 'messages' to be an array but received nothing"],
    ['{"messages": [{"role": "user", "content": 5}]}', "Expected 'messages.0.content' to be a string but received 5"],
    ['{"messages": [{"role": "user", "content": "x"}]}', 'Expected the messages to hold an assistant turn to train'],
  ])('names file and line of a bad row: %s', async (row, message) => {
    const file = await write(turn('fine?', 'yes'), row);
    const loaded = loadDataset([file], options);
    await expect(loaded).rejects.toThrow(message);
    await expect(loaded).rejects.toThrow(`${file}:2:`);
    await expect(loaded).rejects.not.toThrow('\n');
  });

  it('refuses data with nothing to train, and a missing file', async () => {
    await expect(loadDataset([await write()], options)).rejects.toThrow('received nothing to train: no rows');
    const long = await write(turn('long?', 'no '.repeat(200)));
    await expect(loadDataset([long], { ...options, maxTokens: 20 })).rejects.toThrow(
      'nothing to train: 1 of 1 rows dropped as longer than 20 tokens',
    );
    await expect(loadDataset([join(folder, 'absent.jsonl')], options)).rejects.toThrow(/absent\.jsonl.*no such file/);
  });
});
