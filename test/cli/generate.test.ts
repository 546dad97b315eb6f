import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { SAMPLING_DEFAULTS, type SamplingParams } from '../../src/engine/sampling_params.js';
import { expectClose, goldenOutputs, modelFolder } from '../support/fixtures.js';
import { readRows, run, start, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();

interface Generated {
  id: string | number;
  index: number;
  text: string;
  tokens: number[];
  finishReason: string;
  error?: string;
  logprobs?: { token: number; logprob: number }[];
}

const greedy = ['--temperature', '0', '--max-tokens', '20', '--ignore-eos'];

function generate(model: string, rows: readonly unknown[], ...args: string[]) {
  writeRows(join(folder(), 'in.jsonl'), rows);
  return run(['generate', '--model', model, '--prompts', 'in.jsonl', '--out', 'out.jsonl', ...args], folder());
}

function output(): Generated[] {
  return readRows<Generated>(join(folder(), 'out.jsonl'));
}

test('greedy continuations are those of transformers, by token ids alone', () => {
  const { documents, greedy: expected } = goldenOutputs('tied');
  const rows = documents.map((tokens, id) => ({ id, tokens }));
  expect(generate(modelFolder('tied'), rows, ...greedy, '--logprobs', '0')).toMatchObject({ status: 0, errors: [] });
  const generated = output().sort((a, b) => Number(a.id) - Number(b.id));
  expect(generated.map(({ tokens }) => tokens)).toEqual(expected.map(({ tokens }) => tokens));
  for (const { id, finishReason, index, logprobs } of generated) {
    expect({ finishReason, index }).toEqual({ finishReason: 'length', index: 0 });
    const figures = logprobs!.map(({ logprob }) => logprob);
    expectClose(figures, expected[Number(id)]!.logprobs, 1e-4, `row ${id}`);
  }
  expect(readdirSync(folder()).sort()).toEqual(['in.jsonl', 'out.jsonl']);
});

test('text, messages and tokens; n samples each; a seed and any number of threads give the same rows', () => {
  const rows = [
    { id: 'text', prompt: 'How many?' },
    { id: 'chat', messages: [{ role: 'user', content: 'How many?' }] },
    { id: 'ids', tokens: [280, 311, 271] },
  ];
  const args = ['--n', '3', '--seed', '7', '--max-tokens', '8'];
  const byKey = () => output().sort((a, b) => `${a.id}${a.index}`.localeCompare(`${b.id}${b.index}`));
  expect(generate(modelFolder('chat'), rows, ...args, '--threads', '1').status).toBe(0);
  const first = byKey();
  expect(first.map(({ id, index }) => `${id} ${index}`)).toEqual(
    ['chat', 'ids', 'text'].flatMap((id) => [0, 1, 2].map((index) => `${id} ${index}`)),
  );
  expect(new Set(first.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(3);
  expect(generate(modelFolder('chat'), rows, ...args, '--threads', '2').status).toBe(0);
  expect(byKey()).toEqual(first);
});

test('a prompt longer than the context fails alone; where all fail nothing is written', () => {
  const long = { id: 'long', tokens: new Array(5000).fill(1) };
  const some = generate(modelFolder('tied'), [long, { id: 'short', tokens: [1, 2, 3] }], ...greedy);
  expect(some.status).toBe(1);
  expect(some.errors).toEqual([expect.stringMatching(/1 of 2 rows failed.*'long'.*5000/)]);
  expect(output().sort((a, b) => String(a.id).localeCompare(String(b.id)))).toMatchObject([
    { id: 'long', finishReason: 'error', tokens: [], error: expect.stringContaining('5000') },
    { id: 'short', finishReason: 'length' },
  ]);
});

test('where every prompt is too long nothing is written', () => {
  const long = { id: 'long', tokens: new Array(5000).fill(1) };
  const none = generate(modelFolder('tied'), [long], ...greedy);
  expect(none).toMatchObject({ status: 1, errors: [expect.stringMatching(/'long'.*5000.*nothing is written/)] });
  expect(readdirSync(folder())).toEqual(['in.jsonl']);
});

test('keys and values in fp8', () => {
  const rows = [{ id: 'a', tokens: [5, 6, 7] }];
  const { status, stderr } = generate(modelFolder('tied'), rows, ...greedy, '--kv-cache-dtype', 'fp8');
  expect([status, stderr]).toEqual([0, expect.stringContaining('KV cache in fp8')]);
  expect(output()).toMatchObject([{ id: 'a', finishReason: 'length' }]);
});

test('stopped by Ctrl-C and started again, it ends with the rows of an undisturbed run', async () => {
  const rows = Array.from({ length: 240 }, (_, id) => ({ id, tokens: [3 + (id % 100), 1 + (id % 7), 5] }));
  const args = ['--model', modelFolder('tied'), '--max-tokens', '60', '--ignore-eos', '--max-num-seqs', '8'];
  expect(generate(modelFolder('tied'), rows, ...args).status).toBe(0);
  const undisturbed = output();

  const again = ['generate', '--prompts', 'in.jsonl', '--out', 'again.jsonl', ...args];
  const { status, stderr } = await interruptAtFirstRow(again);
  expect(status, stderr).toBe(130);
  const kept = Number(/Stopped with (\d+) of 240 rows in again\.jsonl\..*\.partial/.exec(stderr)?.[1]);
  expect(kept).toBeGreaterThan(0);
  expect(readdirSync(folder())).not.toContain('again.jsonl');

  const resumed = run(again, folder());
  expect(resumed.status).toBe(0);
  expect(resumed.stderr).toContain(`${kept} already there`);
  const byId = (a: Generated, b: Generated): number => Number(a.id) - Number(b.id);
  expect(readRows<Generated>(join(folder(), 'again.jsonl')).sort(byId)).toEqual(undisturbed.sort(byId));
  expect(readdirSync(folder()).sort()).toEqual(['again.jsonl', 'in.jsonl', 'out.jsonl']);
});

/** Sends SIGINT as soon as a row is in the partial file. */
async function interruptAtFirstRow(args: readonly string[]): Promise<{ status: number | null; stderr: string }> {
  const child = start(args, folder());
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  const hasRow = (): boolean =>
    readdirSync(folder()).some((name) => name.endsWith('.partial') && statSync(join(folder(), name)).size > 0);
  while (child.exitCode === null && !hasRow()) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGINT');
  return { status: await closed, stderr };
}

test("every sampling parameter works from a row's own as from the command line", () => {
  const options = {
    n: 2,
    temperature: 0.8,
    topP: 0.95,
    topK: 40,
    minP: 0.01,
    presencePenalty: 0.2,
    frequencyPenalty: 0.1,
    repetitionPenalty: 1.1,
    seed: 5,
    stop: ['zzz'],
    stopTokenIds: [9],
    maxTokens: 9,
    minTokens: 2,
    ignoreEos: true,
    logprobs: 2,
    promptLogprobs: true,
    logitBias: { 70: 1.5 },
    allowedTokenIds: Array.from({ length: 60 }, (_, i) => 40 + i),
  } satisfies SamplingParams;
  expect(Object.keys(options).sort()).toEqual(Object.keys(SAMPLING_DEFAULTS).sort());
  const flags = Object.entries(options).flatMap(([name, value]) => [
    `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
    ...(value === true
      ? []
      : [Array.isArray(value) ? value.join(',') : value instanceof Object ? JSON.stringify(value) : `${value}`]),
  ]);
  const tokens = [280, 311, 271];
  expect(generate(modelFolder('chat'), [{ id: 'a', tokens }], ...flags)).toMatchObject({ status: 0, errors: [] });
  const byOptions = output();
  expect(byOptions).toHaveLength(2);
  expect(byOptions[0]).toMatchObject({ promptLogprobs: [null, expect.any(Number), expect.any(Number)] });
  const rows = [
    { id: 'plain', tokens },
    { id: 'a', tokens, sampling: options },
  ];
  expect(generate(modelFolder('chat'), rows, '--temperature', '0', '--max-tokens', '3').status).toBe(0);
  expect(output().filter(({ id }) => id === 'a')).toEqual(byOptions);
  expect(output().filter(({ id }) => id === 'plain')).toHaveLength(1);
});

test('replicas write the rows of one engine, and say how the threads are divided', () => {
  const rows = Array.from({ length: 12 }, (_, id) => ({ id, tokens: [10 + id, 31, 27] }));
  const args = ['--max-tokens', '6', '--n', '2', '--threads', '2'];
  const sorted = () => output().sort((a, b) => Number(a.id) - Number(b.id) || a.index - b.index);
  expect(generate(modelFolder('tied'), rows, ...args).status).toBe(0);
  const alone = sorted();
  const { status, stderr } = generate(modelFolder('tied'), rows, ...args, '--mesh', 'dp=2');
  expect({ status, stderr }).toMatchObject({
    status: 0,
    stderr: expect.stringMatching(/^2 replicas with 1 CPU thread each/),
  });
  expect(sorted()).toEqual(alone);
  const wrong = generate(modelFolder('tied'), rows, '--mesh', 'dp=two');
  expect(wrong.errors).toEqual([
    expect.stringContaining("Expected a mesh such as dp=2, tp=4 or dp=2,tp=4 but received 'dp=two'"),
  ]);
});

test('several processes need a mesh with devices in each of them, which is said before anything is loaded', () => {
  writeRows(join(folder(), 'in.jsonl'), [{ id: 1, tokens: [3] }]);
  const args = ['generate', '--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  const { status, errors } = run(args, folder(), { WORLD_SIZE: '2', RANK: '1' });
  expect({ status, errors }).toEqual({
    status: 1,
    errors: [expect.stringContaining("Expected the mesh to have a multiple of WORLD_SIZE (2 processes) as 'dp'")],
  });
});
