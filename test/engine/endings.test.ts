import { describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import { EngineStoppedError } from '../../src/engine/errors.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { RequestStream } from '../../src/engine/request_stream.js';
import { fakeEngine } from './fake_engine.js';
import { collect, expected, requests } from './fake_requests.js';
import { seededIntegers } from './fake_runner.js';

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
