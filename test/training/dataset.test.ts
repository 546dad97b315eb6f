import { appendFile, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeConversation } from '../../src/text/chat_targets.js';
import { type Dataset, type DatasetOptions, loadDataset, type TokeniseProgress } from '../../src/training/dataset.js';
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

describe('tokenised data', () => {
  let folder: string;
  let data: string;
  let few: string;
  const row = (index: number, answer = 'so '.repeat(index % 7)) => ({
    ...(index % 3 > 0 && { id: `row ${index % 300}` }),
    messages: [
      { role: 'user', content: `What is ${index} plus ${index}? 🙂` },
      { role: 'assistant', content: `${answer}${2 * index}` },
    ],
    weight: index / 8,
    note: 'x'.repeat(500),
  });
  const lines = Array.from({ length: 2000 }, (_, index) => JSON.stringify(row(index)));
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tokenised-'));
    data = join(folder, 'data.jsonl');
    // A byte order mark, Windows' line ends, a blank line, and no line feed at the end.
    await writeFile(data, `\uFEFF${lines.slice(0, 10).join('\r\n')}\r\n\n${lines.slice(10).join('\n')}`);
    expect((await stat(data)).size).toBeGreaterThan(2 ** 20); // or no threads would start
    few = join(folder, 'few.jsonl');
    await writeFile(few, lines.slice(0, 10).join('\n'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const load = async (changes: Partial<DatasetOptions> = {}, files = [few]): Promise<Dataset> => {
    const model = await resolveModel(modelFolder('chat'));
    model.weights.close();
    const cache = join(folder, 'cache');
    return loadDataset(files, { model, maxTokens: 1000, overlong: 'error', keepData: true, folder: cache, ...changes });
  };

  it('are what one thread makes of the lines, whatever the number of threads', async () => {
    const seen: TokeniseProgress[] = [];
    const onProgress = (progress: TokeniseProgress) => void seen.push(progress);
    const one = await load({ threads: 1, folder: join(folder, 'one'), onProgress }, [data]);
    const three = await load({ threads: 3, folder: join(folder, 'three') }, [data]);
    expect(three.fingerprint).toBe(one.fingerprint);
    expect(three.documents.selection.lengths).toEqual(one.documents.selection.lengths);
    expect(seen.length).toBeGreaterThan(3);
    expect(seen.at(-1)).toMatchObject({ rows: 2000, tokens: one.report.tokens, done: true });
    expect(seen.at(-2)).toMatchObject({ bytes: seen[0]!.totalBytes - 3, done: false });

    const model = await resolveModel(modelFolder('chat'));
    model.weights.close();
    for (const index of [0, 1, 9, 10, 1000, 1999]) {
      const { messages } = row(index);
      const { tokens, labels } = encodeConversation(messages, model.chatTemplate!, model.tokenizer!);
      const expected = createDocument('', tokens, labels);
      const { id, tokens: ids, targets, trained, data } = three.documents.at(index);
      expect([...ids]).toEqual(tokens);
      expect([...targets]).toEqual([...expected.targets]);
      expect(trained).toBe(expected.trained);
      expect(data).toEqual({ weight: index / 8, note: row(0).note });
      // Behind the tenth row there is a blank line.
      expect(id).toBe(row(index).id ?? `${join(folder, 'data.jsonl')}:${index + 1 + Number(index > 9)}`);
    }
    const { identities } = three.documents;
    expect(identities[1]).toBe(identities[301]);
    expect(new Set(identities).size).toBe(667 + 200);
  });

  it('are used again for the same contents under another name, and not for other contents, settings or text', async () => {
    const first = await load();
    expect(first.report.reused).toBe(false);
    const copy = join(folder, 'copy.jsonl');
    await writeFile(copy, await readFile(few));
    const second = await load({ overlong: 'drop', maxTokens: first.report.longest - 1 }, [copy]);
    expect(second.report.reused).toBe(true);
    expect(second.documents.at(0).id).toBe(`${copy}:1`);
    expect(second.report.dropped).toBeGreaterThan(0);
    expect(second.fingerprint).not.toBe(first.fingerprint);

    expect((await load({ keepData: false })).report.reused).toBe(false);
    await appendFile(copy, '\n');
    expect((await load({}, [copy])).report.reused).toBe(false);
    const other = join(folder, 'other-template');
    await cp(modelFolder('chat'), other, { recursive: true });
    await appendFile(join(other, 'chat_template.jinja'), '{# a remark #}');
    const model = await resolveModel(other);
    model.weights.close();
    expect((await load({ model })).report.reused).toBe(false);
  });

  it('are made again where the file is not whole', async () => {
    const cache = join(folder, 'torn');
    const { report } = await load({ folder: cache });
    const [name] = await readdir(cache);
    for (const bytes of [0, 7, 1000, (await stat(join(cache, name!))).size - 1]) {
      await truncate(join(cache, name!), bytes);
      expect((await load({ folder: cache })).report).toEqual(report);
    }
  });

  it('stay where they are when they cannot be read for another reason than what they hold', async () => {
    const cache = join(folder, 'unreadable');
    await load({ folder: cache });
    const [name] = await readdir(cache);
    const path = join(cache, name!);
    await rm(path);
    await mkdir(path); // Opens, and does not read: EISDIR, for root as well.
    await expect(load({ folder: cache })).rejects.toThrow(
      /\.rows: the tokenised data cannot be read \(EISDIR\); make it readable, remove it, or set 'tokenisedFolder'/,
    );
    expect(await readdir(cache)).toEqual([name]);
  });

  it('name file and line of a bad row in any thread, and leave nothing behind', async () => {
    const bad = join(folder, 'bad.jsonl');
    const cache = join(folder, 'empty');
    for (const [broken, message] of [
      ['{"messages": []}', "1901: Expected 'messages' to be non-empty"],
      [Buffer.from([0x22, 0xff, 0x22]), '1901: Expected UTF-8 but received other bytes; convert the file'],
    ] as const) {
      const [before, after] = [lines.slice(0, 1900), lines.slice(1900)].map((part) => Buffer.from(part.join('\n')));
      const line = Buffer.from('\n');
      await writeFile(bad, Buffer.concat([before!, line, Buffer.from(broken), line, after!]));
      await expect(load({ folder: cache }, [bad])).rejects.toThrow(`${bad}:${message}`);
      expect(await readdir(cache)).toEqual([]);
    }
  });

  it('leave nothing behind when stopped, or when the folder takes no files', async () => {
    const cache = join(folder, 'stopped');
    const controller = new AbortController();
    const stopped = load(
      {
        ...{ folder: cache, threads: 2, signal: controller.signal },
        onProgress: () => controller.abort(new Error('stop')),
      },
      [data],
    );
    await expect(stopped).rejects.toThrow('stop');
    expect(await readdir(cache)).toEqual([]);
    await expect(load({ folder: '/dev/null/none' })).rejects.toThrow(
      /^\/dev\/null\/none: the tokenised data cannot be written \(ENOTDIR\); .*'tokenisedFolder'/,
    );
  });
});
