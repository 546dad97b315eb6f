import { describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import { EngineStoppedError } from '../../src/engine/errors.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { RequestStream } from '../../src/engine/request_stream.js';
import { sampleSeed } from '../../src/engine/seeds.js';
import { formatStatistics } from '../../src/engine/statistics.js';
import { type FakeEngineOptions, fakeEngine, letters } from './fake_engine.js';
import { nextToken, seededIntegers } from './fake_runner.js';

function expected(id: string, prompt: number[], length: number, seed: number | null = null, index = 0): number[] {
  const tokens = [...prompt];
  while (tokens.length < prompt.length + length) tokens.push(nextToken(tokens, sampleSeed(0, id, seed, index)));
  return tokens.slice(prompt.length);
}

function requests(count: number, sampling: GenerateRequest['sampling'] = {}): GenerateRequest[] {
  const random = seededIntegers(7);
  return Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    prompt: Array.from({ length: 1 + random(20) }, () => random(50)),
    sampling: { maxTokens: 1 + random(20), ignoreEos: true, ...sampling },
  }));
}

async function collect(results: AsyncIterable<Completion>): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const result of results) all.push(result);
  return all;
}

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

describe('what ends a sample', () => {
  const prompt = [1, 2, 3];
  const tokens = expected('r', prompt, 40);
  const text = tokens.map((token) => String.fromCharCode(97 + (token % 26))).join('');
  const run = async (sampling: GenerateRequest['sampling'], eos = [99]) => {
    const { engine } = fakeEngine({ parts: { eosTokenIds: eos } });
    const [result] = await engine.generateAll([{ id: 'r', prompt, sampling: { maxTokens: 40, ...sampling } }]);
    await engine.close();
    return result!;
  };
  const first = (token: number, from = 0) => tokens.indexOf(token, from) + 1;

  it('end of sequence: part of the tokens, not of the text', async () => {
    const end = tokens[7]!;
    const result = await run({}, [end]);
    expect(result.finishReason).toBe('stop');
    expect(result.tokens).toEqual(tokens.slice(0, first(end)));
    expect(result.text).toBe(text.slice(0, first(end) - 1));
  });

  it('a stop token, with ignoreEos as well', async () => {
    const end = tokens[7]!;
    const result = await run({ stopTokenIds: [end], ignoreEos: true }, [end]);
    expect([result.finishReason, result.tokens.length]).toEqual(['stop', first(end)]);
    expect((await run({ ignoreEos: true }, [end])).tokens).toHaveLength(40);
  });

  it('a stop string, wherever tokens cut it', async () => {
    const stop = text.slice(4, 9);
    const result = await run({ stop: ['QQ', stop, text.slice(7, 9)] });
    const at = Math.min(text.indexOf(stop), text.indexOf(text.slice(7, 9)));
    expect(result.finishReason).toBe('stop');
    expect(result.text).toBe(text.slice(0, at));
    expect(result.tokens.length).toBeGreaterThan(at);
    expect(result.tokens).toEqual(tokens.slice(0, result.tokens.length));
  });

  it('not before minTokens', async () => {
    const letter = text[2]!;
    const result = await run({ stop: [letter], minTokens: 10 });
    expect(result.tokens).toHaveLength(text.indexOf(letter, 9) + 1);
    const end = tokens[2]!;
    const later = await run({ minTokens: 10 }, [end]);
    expect(later.tokens).toHaveLength(first(end, 9) || 40);
  });

  it('the end of the context, where maxTokens says nothing', async () => {
    const { engine } = fakeEngine();
    const [result] = await engine.generateAll([{ id: 'r', prompt, sampling: { ignoreEos: true } }]);
    expect([result!.tokens.length, result!.finishReason]).toEqual([61, 'length']);
    await engine.close();
  });
});

describe('ending early', () => {
  it('yields what an AbortSignal cut off as aborted, other calls go on', async () => {
    const { engine, runner } = fakeEngine();
    const controller = new AbortController();
    runner.beforeStep = () => {
      if (runner.steps === 5) controller.abort();
    };
    const endless = requests(20, { maxTokens: 40 });
    const others = collect(engine.generate(requests(5).map((one) => ({ ...one, id: `other-${one.id}` }))));
    const results = await collect(engine.generate(endless, { signal: controller.signal }));
    const aborted = results.filter(({ finishReason }) => finishReason === 'aborted');
    expect(aborted.length).toBeGreaterThan(5);
    for (const { id, tokens } of aborted) {
      const prompt = endless[Number(id.slice(1))]!.prompt as number[];
      expect(tokens).toEqual(expected(id, prompt, tokens.length));
    }
    expect((await others).every(({ finishReason }) => finishReason === 'length')).toBe(true);
    engine.checkIntegrity();
    expect(engine.statistics().kvBlocks.used).toBe(0);
    expect(await collect(engine.generate(endless, { signal: controller.signal }))).toEqual([]);
    await engine.close();
  });

  it('may be asked for by the source itself, while it is asked for the next request', async () => {
    function* source(): Generator<GenerateRequest> {
      expect(() => stream.abort()).not.toThrow();
    }
    const stream: RequestStream<never> = new RequestStream<never>(source(), 4);
    expect(await stream.pull()).toBeNull();
    expect(stream.failure).toBeNull();
  });

  it('frees everything when the consumer leaves', async () => {
    const { engine } = fakeEngine();
    let returned = false;
    async function* source(): AsyncGenerator<GenerateRequest> {
      try {
        yield* requests(100);
      } finally {
        returned = true;
      }
    }
    for await (const _ of engine.generate(source())) break;
    expect(engine.statistics().kvBlocks.used).toBe(0);
    expect(engine.statistics().running + engine.statistics().waiting).toBe(0);
    expect(returned).toBe(true);
    await engine.close();
  });

  it.each([1, 2, 3, 4, 5, 6])('leaks nothing at random moments (seed %i)', async (seed) => {
    const random = seededIntegers(seed);
    const { engine } = fakeEngine({ blocks: 20 });
    const calls = Array.from({ length: 6 }, async (_, i) => {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), random(15));
      const input = requests(30, { n: 1 + random(3) }).map((one) => ({ ...one, id: `${i}.${one.id}` }));
      return (await collect(engine.generate(input, { signal: controller.signal }))).length;
    });
    await Promise.all(calls);
    engine.checkIntegrity();
    const { kvBlocks, running, waiting } = engine.statistics();
    expect([kvBlocks.used, running, waiting]).toEqual([0, 0, 0]);
    await engine.close();
  });

  it('close() aborts what runs and refuses what comes', async () => {
    const { engine, runner } = fakeEngine();
    const input = requests(10, { maxTokens: 40 });
    const results: Completion[] = [];
    const consuming = (async () => {
      for await (const result of engine.generate(input)) results.push(result);
    })().catch((error) => expect(error).toBeInstanceOf(EngineStoppedError));
    await new Promise((resolve) => setTimeout(resolve, 3));
    await engine.close();
    await consuming;
    expect(results.some(({ finishReason }) => finishReason === 'aborted')).toBe(true);
    expect(runner.disposed).toBe(true);
    await expect(engine.generateAll(input)).rejects.toThrow('The engine is closed');
    await engine.close();
  });
});

describe('a forward pass that throws', () => {
  it('ends what is under way with the reason and refuses the rest', async () => {
    const { engine, runner } = fakeEngine();
    runner.beforeStep = () => {
      if (runner.steps === 10) throw new Error('out of memory');
    };
    const input = requests(500, { maxTokens: 10 });
    const results: Completion[] = [];
    await expect(async () => {
      for await (const result of engine.generate(input)) results.push(result);
    }).rejects.toThrow(EngineStoppedError);
    const errors = results.filter(({ finishReason }) => finishReason === 'error');
    expect(errors.length).toBeGreaterThan(8);
    for (const { error } of errors)
      expect(error).toBe('The engine stopped because a forward pass failed: out of memory');
    expect(results.length).toBeLessThan(500);
    expect(runner.disposed).toBe(true);
    engine.checkIntegrity();
    expect(engine.statistics().kvBlocks).toEqual({ total: 64, used: 0, cached: 0, free: 64 });
    await expect(engine.generateAll([[1]])).rejects.toThrow('out of memory');
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
