/** An engine over 2 and 4 ranks writes what it does on one. */
import type { Worker } from 'node:worker_threads';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type OpenEngineOptions, openEngine } from '../../src/distributed/open_engine.js';
import { openRank } from '../../src/distributed/open_rank.js';
import { Replicas } from '../../src/distributed/replicas.js';
import type { Completion } from '../../src/engine/completion.js';
import { Engine, type EngineOptions } from '../../src/engine/engine.js';
import { Followers } from '../../src/engine/followers.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { mixedRequests } from '../engine/tiny_model.js';
import { adapterFolder, type GoldenModel, modelFolder } from '../support/fixtures.js';

async function complete(
  name: GoldenModel,
  tp: number,
  requests: GenerateRequest[],
  engine: EngineOptions = {},
  options: Partial<OpenEngineOptions> = {},
) {
  const opened = await openEngine({ model: modelFolder(name), device: 'cpu', threads: tp, tp, engine, ...options });
  try {
    const completions = await opened.engine.generateAll(requests);
    opened.engine.checkIntegrity();
    return { completions, statistics: opened.engine.statistics() };
  } finally {
    await opened.close();
    expect(opened.loaded.model.device.isOpen).toBe(false);
  }
}

/** What must be equal, and the log-probabilities, which may differ by a rounding. */
function split(completions: readonly Completion[]) {
  const numbers: number[] = [];
  const take = (_: string, value: unknown): unknown => {
    if (typeof value !== 'number' || Number.isInteger(value)) return value;
    numbers.push(value);
    return 'number';
  };
  return { text: JSON.stringify(completions, take), numbers };
}

function expectSame(actual: readonly Completion[], expected: readonly Completion[]): void {
  const [found, wanted] = [split(actual), split(expected)];
  expect(found.text).toBe(wanted.text);
  for (const [index, value] of wanted.numbers.entries()) expect(found.numbers[index]).toBeCloseTo(value, 4);
}

const vocabulary = { linear: 101, tied: 131, bias: 101, fp8_block: 101, mxfp4: 101 } as const;

describe.each(['linear', 'tied', 'bias', 'fp8_block', 'mxfp4'] as const)('%s', (name) => {
  const requests = mixedRequests(24, vocabulary[name]);

  it('over 2 and 4 ranks, every way to sample, prompts scored, prefixes shared', async () => {
    const one = await complete(name, 1, requests, { maxNumSeqs: 8, blockSize: 8 });
    expect(one.completions.some(({ finishReason }) => finishReason === 'error')).toBe(false);
    for (const tp of [2, 4]) {
      const { completions, statistics } = await complete(name, tp, requests, { maxNumSeqs: 8, blockSize: 8 });
      expectSame(completions, one.completions);
      expect(statistics.prefixHitTokens).toBeGreaterThan(0);
    }
  });
});

it('with preemption, chunks of prompts and no step ahead', async () => {
  const requests = mixedRequests(24, vocabulary.tied, 2);
  // Of two key-value heads a rank of two has one: half the bytes.
  const options = (ranks: number) => ({
    ...{ maxNumSeqs: 16, blockSize: 4, maxModelLen: 128, maxPrefillChunk: 7, asyncScheduling: false },
    kvCacheBytes: (40 * 4 * 2 * 2 * 2 * 16 * 4) / ranks,
  });
  const [one, two] = [await complete('tied', 1, requests, options(1)), await complete('tied', 2, requests, options(2))];
  expectSame(two.completions, one.completions);
  expect(two.statistics.preemptions).toBeGreaterThan(0);
  expect(two.statistics.preemptions).toBe(one.statistics.preemptions);
});

it('with an adapter, each rank its part of it', async () => {
  const requests = mixedRequests(8, vocabulary.tied, 3);
  const adapter = adapterFolder('tied');
  const [plain, one, four] = [
    await complete('tied', 1, requests),
    await complete('tied', 1, requests, {}, { adapter }),
    await complete('tied', 4, requests, {}, { adapter }),
  ];
  expectSame(four.completions, one.completions);
  expect(split(one.completions).text).not.toBe(split(plain.completions).text);
});

it('in replicas of two ranks each', async () => {
  const requests = mixedRequests(8, vocabulary.tied, 4);
  const one = await complete('tied', 1, requests);
  const replicas = await Replicas.create({ dp: 2, tp: 2 }, { model: modelFolder('tied'), device: 'cpu', threads: 4 });
  try {
    expectSame(await replicas.generateAll(requests), one.completions);
  } finally {
    await replicas.close();
  }
});

it.each(['cpu', 'cuda-emulated'])('replays recorded decode steps on %s, collectives and all', async (device) => {
  const requests = mixedRequests(3, vocabulary.tied, 5);
  const eager = await complete('tied', 2, requests, { maxNumSeqs: 4, enforceEager: true }, { device });
  const sizes = { cudagraphCaptureSizes: [4] };
  const recorded = await complete('tied', 2, requests, { maxNumSeqs: 4, ...sizes }, { device });
  expect(eager.statistics.recordedSteps).toBe(0);
  expect(recorded.statistics.recordedSteps).toBeGreaterThan(2);
  expectSame(recorded.completions, eager.completions);
});

it('runs in bf16', async () => {
  const { completions } = await complete('bf16', 2, mixedRequests(8, 101), {}, { dtype: 'bf16' });
  expect(completions.every(({ finishReason }) => finishReason !== 'error')).toBe(true);
});

it('says in one line why it cannot be opened', async () => {
  const open = (options: Partial<OpenEngineOptions>) =>
    openEngine({ model: modelFolder('tied'), device: 'cpu', threads: 2, tp: 2, ...options });
  await expect(open({ tp: 3 })).rejects.toThrow(
    /^Expected 'tp' to divide the model's 4 attention heads but received 3$/,
  );
  await expect(open({ engine: { maxNumSeqs: 0 } })).rejects.toThrow(/maxNumSeqs/);
});

it('fails with the rank named when one ends', async () => {
  const setup = { model: modelFolder('tied'), text: {}, device: 'cpu', threads: 1, ranks: 2, rank: 0 };
  const named = { ...setup, group: `ends-${process.pid}` };
  const followers = new Followers(named);
  const { loaded, close } = await openRank(named);
  await followers.ready();
  const engine = Engine.create(loaded, {}, followers);
  onTestFinished(async () => {
    await engine.close();
    await Promise.all([followers.close(), close()]);
  });
  const requests = Array.from({ length: 4 }, (_, i) => ({
    id: `request ${i}`,
    prompt: [1, 2, 3],
    sampling: { maxTokens: 100, ignoreEos: true },
  }));
  const [{ worker }] = (followers as unknown as { followers: [{ worker: Worker }] }).followers;
  void worker.terminate();
  const completions = await engine.generateAll(requests).catch((error: Error) => error);
  const messages = Array.isArray(completions) ? completions.map(({ error }) => error) : [completions.message];
  for (const message of messages) expect(message).toMatch(/Rank 1 \(cpu\): its thread ended with code 1/);
});
