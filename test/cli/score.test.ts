import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { expectClose, goldenOutputs, modelFolder } from '../support/fixtures.js';
import { readRows, run, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();

interface Scored {
  id: string;
  tokens: number[];
  logprobs: (number | null)[];
}

test('the log-probabilities are those of transformers, rows in the order of the input', () => {
  const { documents, logprobs } = goldenOutputs('tied');
  writeRows(
    join(folder(), 'in.jsonl'),
    documents.map((tokens, index) => ({ id: `row ${index}`, tokens })),
  );
  const args = ['score', '--model', modelFolder('tied'), '--input', 'in.jsonl', '--out', 'out.jsonl', '--dtype', 'f32'];
  expect(run([...args, '--batch-tokens', '30'], folder())).toMatchObject({ status: 0, errors: [] });
  const rows = readRows<Scored>(join(folder(), 'out.jsonl'));
  expect(rows.map(({ id }) => id)).toEqual(documents.map((_, index) => `row ${index}`));
  for (const [index, row] of rows.entries()) {
    expect(row.tokens).toEqual(documents[index]);
    expect(row.logprobs[0]).toBeNull();
    expectClose(row.logprobs.slice(1) as number[], logprobs[index]!.slice(1) as number[], 1e-4, row.id);
  }
  expect(readdirSync(folder()).sort()).toEqual(['in.jsonl', 'out.jsonl']);
});

test('a row that is too long fails alone; where all fail nothing is written', () => {
  const long = { id: 'long', tokens: new Array(5000).fill(1) };
  writeRows(join(folder(), 'in.jsonl'), [{ id: 'short', tokens: [1, 2, 3] }, long]);
  writeRows(join(folder(), 'long.jsonl'), [long]);
  const args = ['score', '--model', modelFolder('tied'), '--out', 'out.jsonl', '--input'];

  const some = run([...args, 'in.jsonl'], folder());
  expect(some.status).toBe(1);
  expect(some.errors).toEqual([expect.stringMatching(/1 of 2 rows failed.*'long'.*the model's context.*shorten/)]);
  expect(readRows<Scored>(join(folder(), 'out.jsonl'))).toEqual([
    { id: 'short', tokens: [1, 2, 3], logprobs: [null, expect.any(Number), expect.any(Number)] },
    { id: 'long', error: expect.stringContaining('5000') },
  ]);

  const none = run(['score', '--model', modelFolder('tied'), '--out', 'none.jsonl', '--input', 'long.jsonl'], folder());
  expect(none).toMatchObject({ status: 1, errors: [expect.stringContaining('nothing is written')] });
  expect(readdirSync(folder()).sort()).toEqual(['in.jsonl', 'long.jsonl', 'out.jsonl']);
});
