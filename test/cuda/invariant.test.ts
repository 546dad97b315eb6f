/** The engine's `invariant` mode where kernels differ by how many tokens of a sequence a step computes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomModel, tinyLlama } from '../../benchmarks/gpu/random_model.js';
import { Engine, type EngineModel, type EngineOptions } from '../../src/engine/engine.js';
import { Device } from '../../src/tensor/device.js';
import { bits, mixedRequests } from '../engine/tiny_model.js';
import { deviceNames } from '../ops/harness/devices.js';

/** With heads that tensor cores take. */
const config = { ...tinyLlama, vocab_size: 101, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 64 }; // biome-ignore format: a list

describe.each(deviceNames.filter((name) => name.startsWith('cuda')))('on %s', (name) => {
  let device: Device;
  let loaded: EngineModel;
  beforeAll(() => {
    device = Device.open(name, { threads: 2 });
    loaded = { model: randomModel(device, config, 'bf16'), tokenizer: null, chatTemplate: null };
  });
  afterAll(async () => {
    loaded.model.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  async function run(options: EngineOptions, requests = 8) {
    const engine = Engine.create(loaded, { blockSize: 8, ...options });
    const completions = await engine.generateAll(mixedRequests(requests, config.vocab_size));
    const statistics = engine.statistics();
    await engine.close();
    expect(completions.filter(({ finishReason }) => finishReason === 'error')).toEqual([]);
    return { bits: bits(completions), statistics };
  }
  const cacheOfOneContext = { kvCacheBytes: 128 * 2 * 64 * 2, maxModelLen: 128 };
  const alone = { maxNumSeqs: 1, enablePrefixCaching: false };

  it('gives the same bits for every batch, budget and chunk, with prefixes shared and after preemption', async () => {
    const expected = (await run(alone)).bits;
    const batches = await run({ maxNumSeqs: 8, enforceEager: true });
    expect(batches.statistics.prefixHitTokens).toBeGreaterThan(0);
    const chunks = await run({
      maxNumSeqs: 4,
      maxNumBatchedTokens: 11,
      maxPrefillChunk: 8,
      enablePrefixCaching: false,
    });
    expect(chunks.statistics.prefillChunks).toBeGreaterThan(batches.statistics.prefillChunks);
    const preempted = await run({ maxNumSeqs: 8, ...cacheOfOneContext });
    expect(preempted.statistics.preemptions).toBeGreaterThan(0);
    for (const other of [batches, chunks, preempted]) expect(other.bits).toBe(expected);
  });

  it('with keys and values in fp8 too', async () => {
    const kvCacheDtype = 'fp8';
    const { bits } = await run({ ...alone, kvCacheDtype }, 3);
    expect((await run({ maxNumSeqs: 8, maxPrefillChunk: 8, kvCacheDtype }, 3)).bits).toBe(bits);
  });

  it('and would not, if the last token of a long prompt were computed on its own or not as it comes', async () => {
    const prompt = { id: 'long', prompt: Array.from({ length: 1097 }, (_, i) => 3 + ((7 * i) % 90)) };
    const sampling = { maxTokens: 1, temperature: 0, logprobs: 5, ignoreEos: true };
    const run = async (options: EngineOptions) => {
      const engine = Engine.create(loaded, {
        blockSize: 8,
        maxNumSeqs: 1,
        maxModelLen: 1200,
        enforceEager: true,
        ...options,
      });
      const completions = await engine.generateAll([{ ...prompt, sampling }]);
      await engine.close();
      return bits(completions);
    };
    const whole = await run({});
    expect(await run({ maxPrefillChunk: 1092 })).toBe(whole);
    const unordered = { invariant: false };
    expect(await run({ ...unordered, maxPrefillChunk: 1096 })).toBe(whole); // by chance as the mode has it
    expect(await run(unordered)).not.toBe(whole);
  });

  it('refuses sizes with which it could not go on', () => {
    const create = (options: EngineOptions) => () => Engine.create(loaded, { blockSize: 8, ...options });
    expect(create({ maxPrefillChunk: 7 })).toThrow(
      "Expected 'maxPrefillChunk' to be at least 'blockSize' (8) for 'invariant' results but received 7",
    );
    expect(create({ maxNumSeqs: 8, maxNumBatchedTokens: 14 })).toThrow(
      "Expected 'maxNumBatchedTokens' to be at least 'maxNumSeqs' - 1 + 'blockSize' (15) for 'invariant' results but received 14",
    );
  });
});
