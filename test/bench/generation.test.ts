import { afterEach, beforeEach, expect, test } from 'vitest';
import { engineGenerator, generationWork, kvBytesPerToken, stepWeightBytes } from '../../src/bench/generation.js';
import { mixedWorkload, tokensOf, uniformWorkload } from '../../src/bench/workload.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { goldenOutputs, modelFolder } from '../support/fixtures.js';

let device: Device;
let loaded: LoadedModel;
beforeEach(async () => {
  device = Device.open('cpu', { threads: 2 });
  loaded = await loadModel(modelFolder('tied'), { device });
});
afterEach(async () => {
  loaded.model.dispose();
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

test('lengths are uniform within their bounds and follow from the seed alone', () => {
  const { prompts, outputs } = mixedWorkload(256, 100, 1024, 49152);
  const inputs = prompts.map(({ length }) => length);
  for (const lengths of [inputs, outputs]) {
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(100);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(1024);
    // The mean of 256 draws has a standard error of 17.
    expect(Math.abs(lengths.reduce((a, b) => a + b) / 256 - 562)).toBeLessThan(70);
  }
  expect(inputs).not.toEqual(outputs);
  expect(mixedWorkload(256, 100, 1024, 49152)).toEqual({ prompts, outputs });
  expect(mixedWorkload(256, 100, 1024, 49152, 1).outputs).not.toEqual(outputs);
  const tokens = prompts.flat();
  expect(tokens.every((token) => token >= 100 && token < 49152)).toBe(true);
  expect(new Set(prompts.map((prompt) => prompt.slice(0, 3).join())).size).toBe(256);
});

test('the engine generates what transformers does, and as much as it was asked for', async () => {
  const { documents, greedy } = goldenOutputs('tied');
  const ours = engineGenerator(loaded, { maxModelLen: 120 });
  const run = await ours.run({ prompts: documents, outputs: documents.map((_, index) => 20 - index) });
  expect(run.tokens).toEqual(greedy.map(({ tokens }, index) => tokens.slice(0, 20 - index)));
  expect(run.details!.steps).toBeGreaterThanOrEqual(20);
  expect(run.details!.schedulingShare).toBeGreaterThan(0);
  expect(run.details!.noKernelShare).toBeGreaterThan(0);
  expect(run.details!.noKernelShare).toBeLessThan(1);
  // The same prompts again: none of their tokens comes from a cache.
  const again = await ours.run({ prompts: documents, outputs: documents.map((_, index) => 20 - index) });
  expect(again.details!.prefillTokens).toBe(documents.flat().length);
  await ours.stop();
});

test('the work of a workload is what a token-by-token count gives', () => {
  const { model } = loaded;
  const workload = {
    prompts: [
      [1, 2, 3],
      [4, 5],
    ],
    outputs: [2, 4],
  };
  expect(tokensOf(workload)).toEqual({ input: 5, output: 6 });
  const { numLayers, numHeads, headDim, vocabSize, hiddenSize } = model.config;
  let flops = 0;
  let bytes = 4 * stepWeightBytes(model);
  for (const [index, prompt] of workload.prompts.entries()) {
    const output = workload.outputs[index]!;
    for (let position = 0; position < prompt.length + output - 1; position++) {
      for (const { weight } of model.linears.values()) flops += 2 * weight.size;
      flops += numLayers * numHeads * 4 * headDim * (position + 1);
      if (position >= prompt.length - 1) flops += 2 * vocabSize * hiddenSize;
      if (position >= prompt.length) bytes += kvBytesPerToken(model) * (position + 1);
    }
  }
  expect(generationWork(model, workload)).toEqual({ flops, bytes });
  expect(uniformWorkload(2, 3, 4, vocabSize).outputs).toEqual([4, 4]);
});
