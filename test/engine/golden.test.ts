// Through the engine: paged keys and values, chunked prefill and batched decoding give transformers' tokens and log-probabilities.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../src/engine/engine.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { expectClose, GOLDEN_MODELS, goldenOutputs, modelFolder } from '../support/fixtures.js';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterAll(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

describe.each(GOLDEN_MODELS)('the engine on %s', (name) => {
  const { documents, greedy, logprobs } = goldenOutputs(name);
  let loaded: LoadedModel;
  let engine: Engine;
  beforeAll(async () => {
    loaded = await loadModel(modelFolder(name), { device });
    // Chunks and blocks that divide no document's length; 45 tokens take four prefill chunks.
    engine = Engine.create(loaded, { maxPrefillChunk: 13, blockSize: 8, kvCacheBytes: 1 << 21 });
  });
  afterAll(async () => {
    await engine.close();
    loaded.model.dispose();
  });

  it('goes on greedily with the same tokens and log-probabilities', async () => {
    const maxTokens = greedy[0]!.tokens.length;
    const completions = await engine.generateAll(documents, {
      temperature: 0,
      maxTokens,
      ignoreEos: true,
      logprobs: 0,
    });
    expect(completions.map(({ tokens }) => tokens)).toEqual(greedy.map(({ tokens }) => tokens));
    for (const [d, completion] of completions.entries()) {
      const received = completion.logprobs!.map(({ logprob }) => logprob);
      expectClose(received, greedy[d]!.logprobs, 1e-5, `log-probabilities of continuation ${d}`);
    }
  });

  it('scores the prompt tokens', async () => {
    const completions = await engine.generateAll(documents, { temperature: 0, maxTokens: 1, promptLogprobs: true });
    for (const [d, { promptLogprobs }] of completions.entries()) {
      expect(promptLogprobs![0]).toBeNull();
      expectClose(promptLogprobs!.slice(1) as number[], logprobs[d]!.slice(1) as number[], 1e-5, `document ${d}`);
    }
  });

  it('ends at the end-of-sequence token of the config', async () => {
    const ends = loaded.model.config.eosTokenIds;
    const sampling = { temperature: 0, maxTokens: 3, logitBias: { [ends.at(-1)!]: 100 } };
    const [completion] = await engine.generateAll([documents[1]!], sampling);
    expect(completion!.finishReason).toBe('stop');
    expect(completion!.tokens).toEqual([ends.at(-1)]);
  });
});
