import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import { EngineStoppedError } from '../../src/engine/errors.js';
import type { Sequence } from '../../src/engine/request.js';
import type { Scheduler } from '../../src/engine/scheduler.js';
import { native } from '../../src/native.js';
import { embedding } from '../../src/ops/embedding.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { seededIntegers } from './fake_runner.js';
import { bits, createEngine, mixedRequests, run, type TinyModel, tinyModel } from './tiny_model.js';

let loaded: TinyModel;
let live: number;

beforeEach(async () => {
  loaded = await tinyModel('linear'); // with a head of its own: a bad embedding reaches only those who use it
  live = loaded.device.statistics().liveTensors;
});
afterEach(async () => {
  await loaded.device.synchronize();
  expect(loaded.device.statistics().liveTensors).toBe(live);
  await loaded.close();
});

const requests = (count = 30) => mixedRequests(count, loaded.model.config.vocabSize);

describe('a NaN', () => {
  it('in the weights of one token fails who uses it, and never enters the prefix cache', async () => {
    const clean = await run(loaded, requests());
    const uses = (token: number, { id, tokens }: Completion) =>
      tokens.includes(token) || (requests()[Number(id.split(' ')[1])]!.prompt as number[]).includes(token);
    const token = Array.from({ length: loaded.model.config.vocabSize }, (_, t) => t).find((t) => {
      const users = clean.completions.filter((completion) => uses(t, completion)).length;
      return users > 3 && users < 20;
    })!;
    const embeddings = loaded.model.weights.get('model.embed_tokens.weight')!;
    const row = embeddings.narrow(0, token, 1);
    const good = await row.readFloats();
    row.write(new Float32Array(row.size).fill(Number.NaN));
    row.dispose();
    loaded.model.weightsChanged();

    const engine = createEngine(loaded, { blockSize: 4, maxNumSeqs: 8 });
    const completions = await engine.generateAll(requests());
    expect(completions).toHaveLength(clean.completions.length);
    completions.forEach((completion, i) => {
      const before = clean.completions[i]!;
      // A token that was sampled last is never an input.
      const fails = uses(token, { ...before, tokens: before.tokens.slice(0, -1) });
      if (fails) expect([completion.finishReason, completion.error]).toEqual(['error', expect.stringContaining('NaN')]);
      else expect(bits([completion])).toBe(bits([before]));
    });
    expect(engine.statistics().finished.error).toBeGreaterThan(3);
    const hits = engine.statistics().prefixHitTokens;
    expect(hits).toBeGreaterThan(0);
    // With good weights again but the cache as it is: had a block of the bad token been kept, its requests would fail once more.
    const whole = embeddings.narrow(0, token, 1);
    whole.write(good);
    whole.dispose();
    expect(bits(await engine.generateAll(requests()))).toBe(bits(clean.completions));
    expect(engine.statistics().prefixHitTokens).toBeGreaterThan(hits);
    engine.checkIntegrity();
    await engine.close();
  });

  it.each<[string, (victim: Sequence) => boolean]>([
    ['while its prompt is prefilled', ({ outputLength }) => outputLength === 0],
    ['while it decodes', ({ outputLength }) => outputLength >= 3],
  ])('in the keys of one request fails that request only, and never enters the prefix cache: %s', async (_, now) => {
    const engine = createEngine(loaded, { blockSize: 4, maxPrefillChunk: 8, maxNumSeqs: 8 });
    const { scheduler } = engine as unknown as { scheduler: Scheduler };
    const prompt = requests()[2]!.prompt as number[];
    const victim = { id: 'victim', prompt: [...prompt, ...prompt], sampling: { maxTokens: 12, ignoreEos: true } };
    const input = [...requests(12), victim, ...requests()];
    const places = input.map((request, i) => ({ ...request, id: `${i}` }));
    const clean = await engine.generateAll(places);
    const forward = loaded.model.forward.bind(loaded.model);
    let planted = 0;
    let computed = 0; // of the victim, before this step
    loaded.model.forward = (context) => {
      const sequence = scheduler.running.find(({ request }) => request.id === '12');
      // The first block that nobody shares yet, once it holds a key.
      const own = sequence?.published ?? 0;
      if (context.kind === 'paged' && planted === 0 && sequence && now(sequence) && computed > 4 * own) {
        const block = sequence.blocks[own]!;
        using keys = context.cache.layers[0]!.key.narrow(0, block, 1);
        keys.write(new Float32Array(keys.size).fill(Number.NaN));
        planted++;
      }
      computed = sequence?.computed ?? 0;
      return forward(context);
    };
    loaded.model.weightsChanged(); // an empty cache, so that the prompt is computed again
    const poisoned = await engine.generateAll(places);
    expect(planted).toBe(1);
    poisoned.forEach((completion, i) => {
      if (completion.id !== '12') expect(bits([completion])).toBe(bits([clean[i]!]));
      else expect([completion.finishReason, completion.error]).toEqual(['error', expect.stringContaining('NaN')]);
    });
    const hits = engine.statistics().prefixHitTokens;
    expect(bits(await engine.generateAll(places))).toBe(bits(clean)); // with what the cache holds now
    expect(engine.statistics().prefixHitTokens).toBeGreaterThan(hits + 200);
    expect(engine.statistics().finished.error).toBe(1);
    engine.checkIntegrity();
    await engine.close();
  });

  it('in freed keys and values harms nobody who comes after', async () => {
    const engine = createEngine(loaded, { blockSize: 4, maxNumSeqs: 4, maxModelLen: 128, enablePrefixCaching: false });
    const clean = await engine.generateAll(requests());
    const embeddings = loaded.model.weights.get('model.embed_tokens.weight')!;
    const good = await embeddings.readFloats();
    embeddings.write(new Float32Array(good.length).fill(Number.NaN));
    const poisoned = await engine.generateAll(requests());
    expect(poisoned.every(({ finishReason }) => finishReason === 'error')).toBe(true);
    embeddings.write(good);
    expect(bits(await engine.generateAll(requests()))).toBe(bits(clean));
    await engine.close();
  });
});

describe('a forward pass that fails', () => {
  const failing: [string, (step: () => number) => void, string][] = [
    [
      'when it is enqueued',
      (step) => {
        const forward = loaded.model.forward.bind(loaded.model);
        loaded.model.forward = (context) => {
          if (step() === 10) throw new Error('no such kernel');
          return forward(context);
        };
      },
      'no such kernel',
    ],
    [
      'when it runs',
      (step) => {
        const forward = loaded.model.forward.bind(loaded.model);
        loaded.model.forward = (context) => {
          const hidden = forward(context);
          if (step() !== 10) return hidden;
          const ids = Tensor.from(loaded.device, Int32Array.of(-5));
          launch('copy', [embedding(loaded.model.outputWeight, ids), hidden.narrow(0, 0, 1)]);
          return hidden;
        };
      },
      '-5',
    ],
    [
      'for want of memory',
      (step) => {
        const forward = loaded.model.forward.bind(loaded.model);
        loaded.model.forward = (context) => {
          if (step() === 10) native.failAllocationsAfter(loaded.device.id, 5);
          return forward(context);
        };
      },
      'alloc',
    ],
  ];

  it.each(failing)(
    '%s: ends every request with the reason, refuses later ones, and gives memory back',
    async (_, plant, reason) => {
      let steps = 0;
      plant(() => steps++);
      const engine = createEngine(loaded, { maxNumSeqs: 8, lookAhead: 16 });
      const results: Completion[] = [];
      await expect(async () => {
        for await (const result of engine.generate(requests(200))) results.push(result);
      }).rejects.toThrow(EngineStoppedError);
      native.failAllocationsAfter(loaded.device.id, -1);
      const errors = results.filter(({ finishReason }) => finishReason === 'error');
      expect(errors.length).toBeGreaterThanOrEqual(8);
      for (const { error } of errors) expect(error?.toLowerCase()).toContain(reason);
      await expect(engine.generateAll([[1, 2]])).rejects.toThrow('The engine stopped because a forward pass failed');
      engine.checkIntegrity();
      await loaded.device.synchronize();
      expect(loaded.device.statistics().liveTensors).toBe(live); // before close()
      await engine.close();
    },
  );
});

describe('aborting at random moments', () => {
  it.each([1, 2, 3])('leaks nothing (seed %i)', async (seed) => {
    const random = seededIntegers(seed);
    const engine = createEngine(loaded, { maxNumSeqs: 8, blockSize: 4, maxModelLen: 100 });
    const clean = await engine.generateAll(requests());
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        const controller = new AbortController();
        setTimeout(() => controller.abort(), random(60));
        for await (const { id, index, tokens } of engine.generate(requests(), { signal: controller.signal })) {
          const whole = clean.find((one) => one.id === id && one.index === index)!;
          expect(whole.tokens.slice(0, tokens.length)).toEqual(tokens);
        }
      }),
    );
    engine.checkIntegrity();
    expect(engine.statistics().kvBlocks.used).toBe(0);
    expect(engine.statistics().finished.aborted).toBeGreaterThan(0);
    await engine.close();
  });

  it('close() in the middle gives everything back', async () => {
    const engine = createEngine(loaded, { maxNumSeqs: 8 });
    const consuming = engine.generateAll(requests(200));
    const refused = expect(consuming).rejects.toThrow('closed');
    await new Promise((resolve) => setTimeout(resolve, 20));
    await engine.close();
    await refused;
  });
});

describe('weights that change under the engine', () => {
  it('are used from the next step on, and what was cached before is not', async () => {
    const engine = createEngine(loaded, { blockSize: 4 });
    const before = await engine.generateAll(requests());
    const weight = loaded.model.weights.get('model.layers.0.mlp.up_proj.weight')!;
    const good = await weight.readFloats();
    weight.write(good.map((value) => 2 * value));
    loaded.model.weightsChanged();
    const after = await engine.generateAll(requests());
    expect(bits(after)).not.toBe(bits(before));
    expect(bits(after)).toBe(bits((await run(loaded, requests(), { enablePrefixCaching: false })).completions));
    weight.write(good);
    loaded.model.weightsChanged();
    expect(bits(await engine.generateAll(requests()))).toBe(bits(before));
    await engine.close();
  });
});
