import { describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { formatStatistics } from '../../src/engine/statistics.js';
import { type FakeEngineOptions, fakeEngine, letters } from './fake_engine.js';
import { collect, expected, requests } from './fake_requests.js';

describe('generate', () => {
  it('completes every request with the tokens it would get alone', async () => {
    const { engine, runner } = fakeEngine();
    const input = requests(100, { n: 2 });
    const results = await collect(engine.generate(input));
    expect(results).toHaveLength(200);
    for (const { id, index, tokens, finishReason, promptTokens } of results) {
      const request = input[Number(id.slice(1))]!;
      const prompt = request.prompt as number[];
      expect(tokens).toEqual(expected(id, prompt, request.sampling!.maxTokens!, null, index));
      expect([finishReason, promptTokens]).toEqual(['length', prompt.length]);
    }
    const statistics = engine.statistics();
    expect(statistics.finished).toEqual({ stop: 0, length: 200, aborted: 0, error: 0 });
    expect(statistics.generatedTokens).toBe(results.reduce((n, { tokens }) => n + tokens.length, 0));
    expect(statistics.peakSequences).toBe(8);
    expect(statistics.prefillTokens).toBeGreaterThan(500);
    expect([statistics.running, statistics.waiting, statistics.kvBlocks.used]).toEqual([0, 0, 0]);
    expect(statistics.idleSeconds).toBeGreaterThan(0);
    expect(statistics.overheadSeconds).toBeGreaterThan(statistics.idleSeconds);
    expect(statistics.busySeconds).toBeGreaterThan(statistics.overheadSeconds);
    expect(formatStatistics(statistics)).toMatch(/^\d+ tokens\/s · running 0 · waiting 0 · KV 0 %/);
    engine.checkIntegrity();
    await engine.close();
    expect(runner.disposed).toBe(true);
  });

  it('starts with everything that is there at once, and without what is not', async () => {
    const { engine, runner } = fakeEngine({ maxNumBatchedTokens: 100 });
    const batches: number[] = [];
    runner.beforeStep = ({ chunks }) => batches.push(chunks.length);
    let goOn = (): void => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    async function* source(): AsyncGenerator<GenerateRequest> {
      for (let i = 0; i < 5; i++) yield { id: `${i}`, prompt: [i], sampling: { maxTokens: 2, ignoreEos: true } };
      await gate;
      yield { id: 'late', prompt: [9], sampling: { maxTokens: 1 } };
    }
    for await (const _ of engine.generate(source())) goOn();
    expect(batches).toEqual([5, 5, 1]);
    await collect(engine.generate(requests(20, { maxTokens: 2 })));
    expect(batches[3]).toBe(8); // every seat
    await engine.close();
  });

  it('yields results as they finish', async () => {
    const { engine } = fakeEngine();
    const input = [
      { id: 'long', prompt: [1, 2], sampling: { maxTokens: 40, ignoreEos: true } },
      { id: 'short', prompt: [3], sampling: { maxTokens: 1, ignoreEos: true } },
    ];
    const results = await collect(engine.generate(input));
    expect(results.map(({ id }) => id)).toEqual(['short', 'long']);
  });

  it('serves several calls at once, and again after it was idle', async () => {
    const { engine } = fakeEngine();
    const [a, b] = await Promise.all([collect(engine.generate(requests(20))), collect(engine.generate(requests(30)))]);
    expect([a.length, b.length]).toEqual([20, 30]);
    expect(await collect(engine.generate(requests(5)))).toHaveLength(5);
    expect(await collect(engine.generate([]))).toEqual([]);
    await engine.close();
  });

  it('reads its input no further than the look-ahead, however long that is', async () => {
    const { engine } = fakeEngine();
    let pulled = 0;
    let taken = 0;
    let most = 0;
    async function* source(): AsyncGenerator<GenerateRequest> {
      for (let i = 0; i < 3000; i++) {
        pulled++;
        most = Math.max(most, pulled - taken);
        yield { id: `${i}`, prompt: [i % 50, 1], sampling: { maxTokens: 2, ignoreEos: true } };
      }
    }
    for await (const _ of engine.generate(source())) {
      taken++;
      if (taken % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    expect(taken).toBe(3000);
    expect(most).toBeLessThanOrEqual(33);
    await engine.close();
  });

  it('does not wait for a slow source to serve what it has given', async () => {
    const { engine } = fakeEngine();
    let goOn = (): void => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    async function* source(): AsyncGenerator<GenerateRequest> {
      yield { id: 'first', prompt: [1], sampling: { maxTokens: 3 } };
      await gate;
      yield { id: 'second', prompt: [1], sampling: { maxTokens: 3 } };
    }
    const results: string[] = [];
    for await (const { id } of engine.generate(source())) {
      results.push(id);
      goOn();
    }
    expect(results).toEqual(['first', 'second']);
    await engine.close();
  });

  it('ends with what the input throws, after what came before', async () => {
    const { engine } = fakeEngine();
    function* source(): Generator<GenerateRequest> {
      yield* requests(3);
      throw new Error('line 4 is malformed');
    }
    const results: Completion[] = [];
    await expect(async () => {
      for await (const result of engine.generate(source())) results.push(result);
    }).rejects.toThrow('line 4 is malformed');
    expect(results).toHaveLength(3);
    await engine.close();
  });

  it('depends on seed, id and sample, not on company', async () => {
    const { engine } = fakeEngine();
    const alone = await engine.generateAll([
      { id: 'x', prompt: [5, 6], sampling: { maxTokens: 10, n: 3, ignoreEos: true } },
    ]);
    expect(new Set(alone.map(({ tokens }) => tokens.join())).size).toBe(3);
    const company = requests(40);
    company.splice(20, 0, { id: 'x', prompt: [5, 6], sampling: { maxTokens: 10, n: 3, ignoreEos: true } });
    const among = (await engine.generateAll(company)).filter(({ id }) => id === 'x');
    expect(among).toEqual(alone);
    const seeded = { maxTokens: 10, ignoreEos: true, seed: 3 };
    const [a, b] = await engine.generateAll([
      { id: 'a', prompt: [5, 6], sampling: seeded },
      { id: 'b', prompt: [5, 6], sampling: seeded },
    ]);
    expect(a!.tokens).toEqual(b!.tokens);
    await engine.close();
  });
});

describe('text', () => {
  it('may take its time to become tokens: those who are there go on meanwhile', async () => {
    let steps = (): number => 0;
    const { engine, runner } = fakeEngine({
      parts: {
        async encode({ prompt }) {
          if (prompt !== 'slow') return [1];
          const until = steps() + 10;
          while (steps() < until) await new Promise((resolve) => setTimeout(resolve, 1)); // for ever, if steps waited
          return [2, 3];
        },
      },
    });
    steps = () => runner.steps;
    const [quick, slow] = await engine.generateAll(['quick', 'slow'], { maxTokens: 30, ignoreEos: true });
    expect([quick!.tokens.length, slow!.promptTokens, slow!.tokens.length]).toEqual([30, 2, 30]);
    await engine.close();
  });

  it('is made of tokens while a step runs, never between steps', async () => {
    const decoded = { duringSteps: 0, betweenSteps: 0 };
    const { engine, runner, scheduler } = fakeEngine({
      parts: {
        decoding: {
          ...letters,
          decode(tokens) {
            if (runner.busy > 0) decoded.duringSteps++;
            else if (!scheduler.isIdle) decoded.betweenSteps++;
            return letters.decode(tokens);
          },
        },
      },
    });
    await collect(engine.generate(requests(100)));
    expect(decoded.betweenSteps).toBe(0);
    expect(decoded.duringSteps).toBeGreaterThan(80);
    await engine.close();
  });
});

describe('a step scheduled while the one before runs', () => {
  const ending = (): GenerateRequest[] =>
    requests(60, { maxTokens: 30 }).map((one, i) => ({
      ...one,
      prompt: i % 3 === 0 ? [...Array(9).keys(), i] : one.prompt, // some begin alike
      sampling: {
        ...one.sampling,
        n: 1 + (i % 3),
        ...(i % 4 === 1 && { stop: ['e', 'ab'] }),
        ...(i % 4 === 2 && { stopTokenIds: [11, 12, 13], minTokens: 3 }),
        ...(i % 4 === 3 && { ignoreEos: false }),
      },
    }));

  it.each<[string, FakeEngineOptions]>([
    ['plenty of blocks', {}],
    ['few blocks', { blocks: 18 }],
    ['short chunks', { maxPrefillChunk: 3 }],
    ['one seat', { maxNumSeqs: 1 }],
  ])('gives the same results, the books in order after each: %s', async (_, options) => {
    const results = [];
    for (const asyncScheduling of [false, true]) {
      const { engine, runner } = fakeEngine({ ...options, parts: { asyncScheduling } });
      runner.nanTokens.add(41); // and some fail on their way
      const depths: number[] = [];
      runner.beforeStep = () => {
        engine.checkIntegrity();
        depths.push(runner.busy);
      };
      results.push(await engine.generateAll(ending()));
      const { overlappedSteps, steps, discardedTokens, finished, preemptions } = engine.statistics();
      expect(Math.max(...depths)).toBe(asyncScheduling ? 1 : 0);
      expect(depths.filter((depth) => depth === 1)).toHaveLength(overlappedSteps);
      if (asyncScheduling) expect(overlappedSteps).toBeGreaterThan(0.9 * steps);
      if (asyncScheduling) expect(discardedTokens).toBeGreaterThan(20);
      else expect(discardedTokens).toBe(0);
      expect(Math.min(finished.stop, finished.length, finished.error)).toBeGreaterThan(5);
      if (options.blocks === 18) expect(preemptions).toBeGreaterThan(10);
      await engine.close();
    }
    expect(results[1]).toEqual(results[0]);
  });

  it('is one too many for what ends by its content, and not for what ends by its length', async () => {
    const { engine, runner } = fakeEngine();
    const [byLength] = await engine.generateAll([[1, 2]], { maxTokens: 10, ignoreEos: true });
    expect([byLength!.tokens.length, runner.steps, engine.statistics().discardedTokens]).toEqual([10, 10, 0]);
    const stopTokenIds = [byLength!.tokens[5]!];
    const length = byLength!.tokens.indexOf(stopTokenIds[0]!) + 1;
    const [byContent] = await engine.generateAll([[1, 2]], { maxTokens: 10, ignoreEos: true, stopTokenIds });
    expect(byContent!.tokens).toEqual(byLength!.tokens.slice(0, length));
    await engine.close(); // the step that was one too many is over
    expect([runner.steps, engine.statistics().discardedTokens]).toEqual([10 + length + 1, 1]);
    expect(engine.statistics().generatedTokens).toBe(10 + length);
  });

  it.each([true, false])('lets stop strings be looked for while the device works (%s)', async (asyncScheduling) => {
    let duringSteps = 0;
    const push = (token: number): string => {
      if (runner.busy > 0) duringSteps++;
      return letters.decode([token]);
    };
    const decoding = { ...letters, createStream: () => ({ push, flush: () => '' }) };
    const { engine, runner } = fakeEngine({ parts: { asyncScheduling, decoding } });
    const results = await engine.generateAll(requests(50, { maxTokens: 30, stop: ['QQ'] }));
    const tokens = results.reduce((n, one) => n + one.tokens.length, 0);
    if (asyncScheduling) expect(duringSteps).toBeGreaterThan(0.95 * tokens);
    else expect(duringSteps).toBe(0);
    await engine.close();
  });
});

describe('generateAll', () => {
  it('takes bare prompts and keeps their order', async () => {
    const { engine } = fakeEngine();
    const results = await engine.generateAll([[1, 2, 3], [4], [5, 6]], { maxTokens: 4, n: 2, ignoreEos: true });
    expect(results.map(({ id, index }) => `${id}.${index}`)).toEqual(['0.0', '0.1', '1.0', '1.1', '2.0', '2.1']);
    await engine.close();
  });
});

describe('a request that is not possible', () => {
  it('fails alone, with its reason', async () => {
    const { engine } = fakeEngine();
    const bad: [unknown, string][] = [
      [{ id: 'a', prompt: [] }, "Expected 'prompt' to have at least one token but it is empty"],
      [{ id: 'b', prompt: [1, 50] }, "Expected 'prompt' to be made of token ids from 0 to 49 but received 50"],
      [
        { id: 'c', prompt: Array(64).fill(1) },
        'Expected a prompt of at most 63 tokens (the context holds 64) but received 64; shorten it',
      ],
      [{ id: 'd', prompt: [1], sampling: { tempreature: 1 } }, "(did you mean 'temperature'?)"],
      [{ id: 'e', prompt: [1], samplng: {} }, "(did you mean 'sampling'?)"],
      [{ id: 'f', prompt: 'text' }, 'The model has no tokenizer; give prompts as token ids'],
      [{ id: 'g', prompt: [{ role: 'user', content: 'hi' }] }, 'The model has no chat template'],
      [{ id: 'h', prompt: 7 }, "Expected 'prompt' to be text, token ids or messages but received 7"],
      [{ id: 'i', prompt: [1], continuation: 'x' }, 'no tokenizer'],
      [{ prompt: [1] }, "Expected 'id' to be a string but received undefined"],
      [null, "Expected 'request' to be an object"],
    ];
    const input = requests(20);
    for (const [request] of bad) input.splice(3, 0, request as GenerateRequest);
    const results = await collect(engine.generate(input));
    expect(results.filter(({ finishReason }) => finishReason === 'length')).toHaveLength(20);
    const errors = results.filter(({ finishReason }) => finishReason === 'error').map(({ error }) => error);
    for (const [, reason] of bad)
      expect(
        errors.some((error) => error!.includes(reason)),
        reason,
      ).toBe(true);
    await engine.close();
  });

  it('fails every sample when its logits are NaN, and nothing of it stays in the prefix cache', async () => {
    const { engine, runner } = fakeEngine();
    runner.nanTokens.add(13);
    const poisoned = { id: 'nan', prompt: [...Array(9).keys(), 13, 9, 10, 11], sampling: { n: 3, maxTokens: 5 } };
    const healthy = requests(10).map((one) => ({
      ...one,
      prompt: (one.prompt as number[]).map((t) => (t === 13 ? 14 : t)),
    }));
    const results = await collect(engine.generate([...healthy, poisoned]));
    const failed = results.filter(({ id }) => id === 'nan');
    expect(failed).toHaveLength(3);
    for (const { finishReason, error, tokens } of failed) {
      expect([finishReason, tokens]).toEqual(['error', []]);
      expect(error).toContain('NaN');
    }
    engine.checkIntegrity();
    const hits = engine.statistics().prefixHitTokens;
    await collect(engine.generate([{ ...poisoned, id: 'again' }]));
    expect(engine.statistics().prefixHitTokens).toBe(hits);
    await engine.close();
  });

  it('ends when a NaN comes up later, with the tokens so far', async () => {
    const { engine, runner } = fakeEngine();
    const tokens = expected('r', [1, 2], 6);
    runner.nanTokens.add(tokens[3]!);
    const cut = tokens.indexOf(tokens[3]!) + 1;
    const [result] = await engine.generateAll([
      { id: 'r', prompt: [1, 2], sampling: { maxTokens: 6, ignoreEos: true } },
    ]);
    expect(result!.finishReason).toBe('error');
    expect(result!.tokens).toEqual(tokens.slice(0, cut));
    await engine.close();
  });
});

describe('weights that change', () => {
  it('have everything recomputed, nothing from the cache', async () => {
    let version = 0;
    const { engine, runner, scheduler } = fakeEngine({ parts: { salt: () => `${version}` } });
    runner.beforeStep = () => {
      if (runner.steps === 6) version++;
    };
    const input = requests(8, { maxTokens: 20 });
    const results = await engine.generateAll(input);
    for (const { id, tokens } of results) {
      const request = input[Number(id.slice(1))]!;
      expect(tokens).toEqual(expected(id, request.prompt as number[], 20));
    }
    const prompts = input.reduce((n, { prompt }) => n + prompt.length, 0);
    expect(engine.statistics().prefillTokens).toBeGreaterThan(1.5 * prompts); // computed twice
    expect(engine.statistics().prefixHitTokens).toBe(0);
    expect(scheduler.preemptions).toBe(0);
    await engine.close();
  });
});
