import { afterEach, describe, expect, it } from 'vitest';
import { Replicas, type ReplicasOptions } from '../../src/distributed/replicas.js';
import type { RunThread } from '../../src/distributed/run_threads.js';
import type { Completion } from '../../src/engine/completion.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { bits, fixtures, mixedRequests, run, tinyModel } from '../engine/tiny_model.js';

const options: ReplicasOptions = { model: `${fixtures}/models/chat`, device: 'cpu', threads: 2 };
let open: Replicas | null = null;

async function start(count: number, engine: ReplicasOptions['engine'] = {}): Promise<Replicas> {
  open = await Replicas.create({ dp: count, tp: 1 }, { ...options, engine });
  return open;
}

afterEach(async () => {
  await open?.close();
  open = null;
});

const long = (id: string, n = 1): GenerateRequest => ({ id, prompt: [4, 5, 6], sampling: { n, ignoreEos: true } });
const short = (id: string): GenerateRequest => ({ id, prompt: [4, 5], sampling: { maxTokens: 2, ignoreEos: true } });

async function collect(completions: AsyncIterable<Completion>, into: Completion[] = []): Promise<Completion[]> {
  for await (const completion of completions) into.push(completion);
  return into;
}

describe('replicas of an engine', () => {
  it.each([2, 4])('%i of them write what one engine does, in the order that was asked for', async (count) => {
    const loaded = await tinyModel('chat');
    const requests = mixedRequests(60, loaded.model.config.vocabSize);
    const alone = await run(loaded, requests);
    await loaded.close();
    const replicas = await start(count, { maxNumSeqs: 4 });
    expect(replicas.startupReport()).toMatch(new RegExp(`^${count} replicas with 1 CPU thread each.*KV cache`));
    expect(bits(await replicas.generateAll(requests))).toBe(bits(alone.completions));
    const { finished, generatedTokens, running } = replicas.statistics();
    expect({ finished, running }).toEqual({ finished: alone.statistics.finished, running: 0 });
    expect(generatedTokens).toBe(alone.statistics.generatedTokens);
    for (const each of replicas.statisticsOfEach()) expect(each.generatedTokens).toBeGreaterThan(0);
  });

  it('gives nothing to one that is busy while another has room', async () => {
    const replicas = await start(2, { maxNumSeqs: 1, lookAhead: 64 });
    const controller = new AbortController();
    const busy: Completion[] = [];
    let given = (): void => {};
    const taken = new Promise<void>((resolve) => {
      given = resolve;
    });
    function* source(): Generator<GenerateRequest> {
      yield long('long', 16);
      given(); // asked for another one, so the first has found its replica
    }
    const collected = collect(replicas.generate(source(), { signal: controller.signal }), busy);
    await taken;
    const ids = Array.from({ length: 12 }, (_, index) => `${index}`);
    const quick = await collect(replicas.generate(ids.map(short)));
    expect(quick.map(({ id }) => id)).toEqual(ids); // one after the other, all of them by the second replica
    controller.abort();
    await collected;
    expect(busy.filter(({ finishReason }) => finishReason === 'aborted').length).toBeGreaterThan(0);
    expect(busy).toHaveLength(16);
    const [first, second] = replicas.statisticsOfEach().map(({ prefillTokens }) => prefillTokens);
    expect([first! % 3, second]).toEqual([0, 24]); // the long one's samples come one after the other
  });

  it('reads thousands of prompts no faster than results are taken', async () => {
    const [total, lookAhead] = [3000, 64];
    const replicas = await start(2, { maxNumSeqs: 16, lookAhead });
    let [given, taken, mostLive] = [0, 0, 0];
    function* source(): Generator<GenerateRequest> {
      for (; given < total; given++) {
        mostLive = Math.max(mostLive, given + 1 - taken);
        yield short(`${given}`);
      }
    }
    for await (const { finishReason } of replicas.generate(source())) {
      expect(finishReason).toBe('length');
      if (taken === 0) expect(given).toBeLessThanOrEqual(lookAhead);
      taken++;
    }
    expect([taken, replicas.statistics().finished.length]).toEqual([total, total]);
    expect(mostLive).toBeLessThanOrEqual(lookAhead + 1);
    expect(mostLive).toBeGreaterThan(16);
  });

  it('ends what is unfinished when aborted, and goes on serving', async () => {
    const replicas = await start(2, { maxNumSeqs: 2 });
    const controller = new AbortController();
    const seen: Completion[] = [];
    let given = 0;
    function* source(): Generator<GenerateRequest> {
      for (;;) yield given++ === 0 ? short('short') : long(`${given}`, 4);
    }
    for await (const completion of replicas.generate(source(), { signal: controller.signal })) {
      if (seen.push(completion) === 1) controller.abort();
    }
    expect(seen[0]!.finishReason).toBe('length');
    expect(seen.some(({ finishReason }) => finishReason === 'aborted')).toBe(true);
    for await (const _ of replicas.generate(source())) break; // a consumer that leaves
    expect(replicas.statistics().running).toBe(0);
    expect(await collect(replicas.generate([short('again')]))).toMatchObject([{ id: 'again', finishReason: 'length' }]);
  });

  it('fails impossible requests with a reason, each by itself', async () => {
    const replicas = await start(2);
    const requests = [
      short('good'),
      { id: 'long', prompt: Array.from({ length: 10_000 }, () => 4) },
      { id: 'unknown', prompt: [4], sampling: { temprature: 1 } },
      { id: 'code', prompt: (() => 1) as never },
      { prompt: [4] } as never,
      { id: 'many', prompt: [99_999], sampling: { n: 3 } },
    ] as GenerateRequest[];
    const completions = await replicas.generateAll(requests);
    expect(completions.map(({ id, index, error }) => [id, index, error])).toEqual([
      ['good', 0, undefined],
      ['long', 0, expect.stringContaining('shorten it')],
      ['unknown', 0, expect.stringContaining("did you mean 'temperature'?")],
      ['code', 0, expect.stringContaining('could not be cloned')],
      ['4', 0, expect.stringContaining("'id' to be a string")],
      ...[0, 1, 2].map((index) => ['many', index, expect.stringContaining('99999')]),
    ]);
    await replicas.close();
    await expect(collect(replicas.generate([short('late')]))).rejects.toThrow(/The engine is closed/);
  });

  it('fails what a replica had when it dies, finishes the rest, and says which one it was', async () => {
    const replicas = await start(2, { maxNumSeqs: 2 });
    const [, { thread }] = (replicas as unknown as { replicas: { thread: RunThread }[] }).replicas as [
      never,
      { thread: RunThread },
    ];
    const completions: Completion[] = [];
    let given = 0;
    function* source(): Generator<GenerateRequest> {
      for (;;) yield given++ < 4 ? short(`${given}`) : long(`${given}`);
    }
    const reading = (async () => {
      for await (const completion of replicas.generate(source()))
        if (completions.push(completion) === 4) thread.terminate();
    })();
    await expect(reading).rejects.toThrow(/^replica 1 \(cpu\): its thread ended with code 1$/);
    const failed = completions.filter(({ finishReason }) => finishReason === 'error');
    expect(failed.length).toBeGreaterThan(0);
    for (const { error } of failed) expect(error).toMatch(/^replica 1 \(cpu\)/);
    expect(completions.some(({ finishReason, tokens }) => finishReason === 'length' && tokens.length > 2)).toBe(true);
    expect(new Set(completions.map(({ id }) => id)).size).toBe(completions.length);
    await expect(collect(replicas.generate([short('late')]))).rejects.toThrow(/^replica 1/);
  });

  it('divides the memory that is free among those on one device', async () => {
    const free = async (count: number): Promise<number> => {
      const [, value, unit] = /, ([\d.]+) ([KMG])iB stay free/.exec((await start(count)).startupReport())!;
      await open!.close();
      return Number(value) * 1024 ** 'KMG'.indexOf(unit!);
    };
    const [all, half] = [await free(1), await free(2)];
    expect(half / all).toBeGreaterThan(0.25);
    expect(half / all).toBeLessThan(0.75); // others take and give back memory meanwhile
  });

  it.each([
    [{ model: '/nowhere' }, /^replica [01] \(cpu\): Expected a model folder.*no '\/nowhere'$/],
    [{ device: 'cuda:97' }, /^replica [01] \(cuda:9[78]\): /],
    [{ engine: { maxNumSeqs: -1 } }, /^replica [01] \(cpu\): Expected 'maxNumSeqs'/],
  ])('says which replica cannot start, and why: %o', async (wrong, message) => {
    await expect(Replicas.create({ dp: 2, tp: 1 }, { ...options, ...wrong })).rejects.toThrow(message);
  });
});
