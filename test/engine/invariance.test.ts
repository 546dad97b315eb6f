import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineOptions } from '../../src/engine/engine.js';
import type { KvCacheDtype } from '../../src/engine/kv_plan.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import type { EngineStatistics } from '../../src/engine/statistics.js';
import { add } from '../../src/ops/elementwise.js';
import { addBias, linear } from '../../src/ops/matmul.js';
import { dtypeSize } from '../../src/tensor/dtype.js';
import {
  bits,
  mixedRequests,
  run as runEngine,
  type TinyModel,
  type TinyModelOptions,
  tinyModel,
} from './tiny_model.js';

const alone: EngineOptions = { maxNumSeqs: 1, enablePrefixCaching: false, blockSize: 16 };

/** Ways to run the same requests, each with what shows that it was another way. */
type Knob = [name: string, options: EngineOptions, moved: (statistics: EngineStatistics) => void];
const knobs: Knob[] = [
  ...[2, 3, 8, 17, 64].map(
    (maxNumSeqs): Knob => [
      `batches of ${maxNumSeqs}`,
      { maxNumSeqs },
      ({ peakSequences }) => expect(peakSequences).toBe(maxNumSeqs),
    ],
  ),
  [
    'chunks of 1',
    { maxPrefillChunk: 1, maxNumSeqs: 16, enablePrefixCaching: false },
    ({ prefillChunks, prefillTokens }) => expect(prefillChunks).toBe(prefillTokens),
  ],
  [
    'chunks of 7',
    { maxPrefillChunk: 7, maxNumSeqs: 16, enablePrefixCaching: false },
    ({ prefillChunks, prefillTokens }) => expect(prefillTokens / prefillChunks).toBeLessThan(7),
  ],
  [
    'a budget of 20 tokens',
    { maxNumBatchedTokens: 20, maxNumSeqs: 16 },
    ({ prefillChunks, steps }) => expect([prefillChunks > 40, steps > 60]).toEqual([true, true]),
  ],
  [
    'the prefix cache',
    { maxNumSeqs: 4, blockSize: 8 },
    ({ prefixHitTokens }) => expect(prefixHitTokens).toBeGreaterThan(200),
  ],
  ['blocks copied on write', { maxNumSeqs: 30 }, ({ copiesOnWrite }) => expect(copiesOnWrite).toBeGreaterThan(4)],
  [
    'preemption',
    { maxNumSeqs: 16, blockSize: 4, kvCacheBytes: 0, maxModelLen: 128 },
    ({ preemptions }) => expect(preemptions).toBeGreaterThan(5),
  ],
  [
    'preemption without a prefix cache',
    { maxNumSeqs: 16, blockSize: 4, kvCacheBytes: 0, maxModelLen: 128, enablePrefixCaching: false },
    ({ preemptions, prefixHitTokens }) => expect([preemptions > 5, prefixHitTokens]).toEqual([true, 0]),
  ],
  [
    'no step scheduled ahead',
    { maxNumSeqs: 16, asyncScheduling: false },
    ({ overlappedSteps }) => expect(overlappedSteps).toBe(0),
  ],
  [
    'each step scheduled ahead',
    { maxNumSeqs: 16, asyncScheduling: true },
    ({ overlappedSteps, steps }) => expect(overlappedSteps).toBeGreaterThan(0.9 * steps),
  ],
  [
    'decode steps recorded, batches filled up to the next size',
    { maxNumSeqs: 16, cudagraphCaptureSizes: [1, 5, 11, 16] },
    ({ recordedSteps, steps }) => expect(recordedSteps).toBeGreaterThan(0.3 * steps),
  ],
  [
    'decode steps recorded up to a batch size',
    { maxNumSeqs: 16, cudagraphCaptureSizes: [4], enablePrefixCaching: false, asyncScheduling: false },
    ({ recordedSteps, steps }) => expect([recordedSteps > 3, recordedSteps < 0.5 * steps]).toEqual([true, true]),
  ],
  ['blocks of 5', { blockSize: 5 }, ({ kvBlocks }) => expect(kvBlocks.total % 26).toBe(0)],
];

describe.each<[string, string, TinyModelOptions, KvCacheDtype]>([
  ['f32', 'chat', { dtype: 'f32' }, 'auto'],
  ['bf16', 'bf16', { dtype: 'bf16' }, 'auto'],
  ['bf16 with keys and values in fp8', 'bf16', { dtype: 'bf16' }, 'fp8'],
])('results in %s are the same bits', (_, name, options, kvCacheDtype) => {
  let loaded: TinyModel;
  let expected: string;
  const requests = () => mixedRequests(48, loaded.model.config.vocabSize);
  const run = (model: TinyModel, requests: GenerateRequest[], engineOptions: EngineOptions) =>
    runEngine(model, requests, { kvCacheDtype, ...engineOptions });

  beforeAll(async () => {
    loaded = await tinyModel(name, { ...options, threads: 1 });
    const { completions, statistics } = await run(loaded, requests(), alone);
    expect(statistics.peakSequences).toBe(1);
    expect(completions.filter(({ finishReason }) => finishReason === 'error')).toEqual([]);
    expected = bits(completions);
  });
  afterAll(() => loaded.close());

  it.each(knobs)('with %s', async (_, engineOptions, moved) => {
    const settings = { ...engineOptions };
    if (settings.kvCacheBytes === 0) {
      const { numLayers, numKvHeads, headDim } = loaded.model.config;
      const dtype = kvCacheDtype === 'fp8' ? 'fp8' : loaded.model.dtype;
      settings.kvCacheBytes = 128 * 2 * numLayers * numKvHeads * headDim * dtypeSize[dtype]; // one context
    }
    const { completions, statistics } = await run(loaded, requests(), settings);
    moved(statistics);
    expect(bits(completions)).toBe(expected);
  });

  it('in another order of arrival', async () => {
    const { completions } = await run(loaded, requests().reverse(), { maxNumSeqs: 7 });
    const place = (id: string) => Number(id.split(' ')[1]);
    completions.sort((a, b) => place(a.id) - place(b.id) || a.index - b.index);
    expect(bits(completions)).toBe(expected);
  });

  it.each<TinyModelOptions>([{ threads: 2 }, { device: 'cpu-chaos', threads: 2 }])('on %j', async (other) => {
    const again = await tinyModel(name, { ...options, ...other });
    expect(again.device.statistics().threads).toBe(2);
    for (const cudagraphCaptureSizes of [[], [1, 7, 16]]) {
      const { completions, statistics } = await run(again, requests(), { maxNumSeqs: 16, cudagraphCaptureSizes });
      expect(statistics.recordedSteps > 0).toBe(cudagraphCaptureSizes.length > 0);
      expect(bits(completions)).toBe(expected);
    }
    await again.close();
  });

  /** Runs with every linear layer summing its first `cut(T)` products, then the others: two sums, the order of one reduction. */
  async function withSplitSums(cut: (rows: number, inputs: number) => number, engineOptions: EngineOptions) {
    const modules = [...loaded.model.linears.values()];
    for (const module of modules) {
      module.forward = (x) => {
        const [rows, inputs] = x.shape as [number, number];
        const weight = loaded.model.weights.get(`${module.name}.weight`)!;
        const part = (start: number, length: number) =>
          linear(x.narrow(1, start, length), weight.narrow(1, start, length));
        const first = cut(rows, inputs);
        const y = add(part(0, first), part(first, inputs - first));
        return module.bias ? addBias(y, module.bias) : y;
      };
    }
    try {
      return bits((await run(loaded, requests(), engineOptions)).completions);
    } finally {
      for (const module of modules) delete (module as { forward?: unknown }).forward; // the class's own again
    }
  }

  it('and would not be, if the order of a sum depended on the batch', async () => {
    const fixed = (_: number, inputs: number) => inputs / 2;
    const byBatch = (rows: number, inputs: number) => (inputs / 4) * (1 + (rows % 3));
    const batches = { maxNumSeqs: 16 };
    expect(await withSplitSums(fixed, batches)).toBe(await withSplitSums(fixed, alone));
    expect(await withSplitSums(byBatch, batches)).not.toBe(await withSplitSums(byBatch, alone));
    expect(await withSplitSums(byBatch, batches)).not.toBe(expected);
    expect(bits((await run(loaded, requests(), batches)).completions)).toBe(expected);
  });
});
