/** A KV cache in fp8: what it changes in a model's results, and what it takes. That results are the same bits however they are run: invariance.test.ts. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import type { KvCacheDtype } from '../../src/engine/kv_plan.js';
import { seededIntegers } from './fake_runner.js';
import { createEngine, run, type TinyModel, tinyModel } from './tiny_model.js';

describe('a KV cache in fp8', () => {
  let loaded: TinyModel;
  beforeAll(async () => {
    loaded = await tinyModel('bf16', { dtype: 'bf16' });
  });
  afterAll(() => loaded.close());

  async function complete(kvCacheDtype: KvCacheDtype): Promise<Completion[]> {
    const random = seededIntegers(5);
    const requests = Array.from({ length: 12 }, (_, i) => ({
      id: `${i}`,
      prompt: Array.from({ length: 90 }, () => 3 + random(loaded.model.config.vocabSize - 3)),
      sampling: { maxTokens: 8, temperature: 0, promptLogprobs: true, ignoreEos: true },
    }));
    return (await run(loaded, requests, { kvCacheDtype })).completions;
  }
  const promptLogprobs = (completions: readonly Completion[]): number[] =>
    completions.flatMap(({ promptLogprobs }) => [...promptLogprobs!].filter((value) => value !== null) as number[]);

  it("leaves log-probabilities close to those of the model's dtype, and is not it", async () => {
    const [exact, rounded] = [await complete('auto'), await complete('fp8')];
    expect(await complete('fp8')).toEqual(rounded);
    const [wanted, found] = [promptLogprobs(exact), promptLogprobs(rounded)];
    expect(found).toHaveLength(wanted.length);
    expect(wanted.length).toBeGreaterThan(1000);
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const difference = mean(wanted.map((value, i) => Math.abs(value - found[i]!)));
    const spread = mean(wanted.map((value) => Math.abs(value - mean(wanted))));
    expect(difference).toBeGreaterThan(0);
    expect(difference).toBeLessThan(spread / 16); // a key or value is off by a sixteenth of itself at most
    for (const { tokens, finishReason } of rounded) expect([tokens.length, finishReason]).toEqual([8, 'length']);
  });

  it('holds twice as many tokens in the same memory', async () => {
    const room = { kvCacheBytes: 1 << 16, maxModelLen: 64, maxNumSeqs: 64 };
    const [auto, fp8] = (['auto', 'fp8'] as const).map((kvCacheDtype) => {
      const before = loaded.device.statistics().liveBytes;
      const engine = createEngine(loaded, { ...room, kvCacheDtype });
      const { kvBlocks, memory } = engine.statistics();
      return { engine, blocks: kvBlocks.total, bytes: memory.kvBytes, taken: memory.liveBytes - before };
    });
    expect(fp8!.blocks).toBe(2 * auto!.blocks);
    expect(fp8!.bytes).toBe(auto!.bytes);
    for (const { bytes, taken } of [auto!, fp8!]) expect(taken - bytes).toBeLessThan(4096);
    for (const { engine } of [auto!, fp8!]) await engine.close();
  });
});
