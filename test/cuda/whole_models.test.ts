// Whole models on every CUDA device that is present, and on its emulation: logits are transformers', an engine's and a trainer's
// results are the CPU's.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import type { EngineOptions } from '../../src/engine/engine.js';
import type { EngineStatistics } from '../../src/engine/statistics.js';
import { loadModel } from '../../src/nn/load.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { bits, mixedRequests, run, type TinyModel, tinyModel } from '../engine/tiny_model.js';
import { deviceNames } from '../ops/harness/devices.js';
import { expectClose, GOLDEN_MODELS, goldenArrays, goldenOutputs, modelFolder } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { openStudent, randomDocuments, runSteps } from '../training/student.js';

const cudaDevices = deviceNames.filter((name) => name.startsWith('cuda'));

describe.each(cudaDevices)('on %s', (deviceName) => {
  it('holds a model in bf16 where nobody names a dtype', async () => {
    const device = Device.open(deviceName);
    const { model } = await loadModel(modelFolder('tied'), { device });
    expect(model.dtype).toBe('bf16');
    model.dispose();
    await device.close();
  });

  it.each(GOLDEN_MODELS)('%s gives the logits of transformers within 1e-5', async (name) => {
    const golden = goldenOutputs(name);
    const arrays = goldenArrays(`${name}.safetensors`);
    const device = Device.open(deviceName);
    const { model } = await loadModel(modelFolder(name), { device, dtype: 'f32' });
    for (const [d, tokens] of golden.documents.entries()) {
      const logits = scope(() => linear(model.forward(packed(device, [tokens])), model.outputWeight, 'f32'));
      expectClose(await logits.readFloats(), arrays.get(`logits.${d}`)!.data, 1e-5, `logits of document ${d}`);
      logits.dispose();
    }
    model.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  describe.each<['f32' | 'bf16', string]>([
    ['f32', 'chat'],
    ['bf16', 'bf16'],
  ])('an engine in %s', (dtype, name) => {
    let loaded: TinyModel;
    let alone: Completion[];
    const requests = () => mixedRequests(10, loaded.model.config.vocabSize);
    beforeAll(async () => {
      loaded = await tinyModel(name, { device: deviceName, dtype });
      const options = { maxNumSeqs: 1, enablePrefixCaching: false, blockSize: 16 };
      ({ completions: alone } = await run(loaded, requests(), options));
    });
    afterAll(() => loaded.close());

    it('gives the tokens and log-probabilities of the CPU', async () => {
      const cpu = await tinyModel(name, { dtype });
      const { completions } = await run(cpu, requests(), { maxNumSeqs: 4 });
      await cpu.close();
      for (const [i, expected] of completions.entries()) {
        const { tokens, logprobs, finishReason } = alone[i]!;
        expect(finishReason).toBe(expected.finishReason);
        // One rounding of bf16 can tip a choice; then what follows is another text.
        const same =
          dtype === 'f32' ? tokens.length : tokens.findIndex((token, place) => token !== expected.tokens[place]);
        if (dtype === 'f32') expect(tokens).toEqual(expected.tokens);
        for (const [place, { logprob }] of (logprobs ?? []).slice(0, same < 0 ? tokens.length : same).entries())
          expect(Math.abs(logprob - expected.logprobs![place]!.logprob)).toBeLessThan(dtype === 'f32' ? 1e-4 : 0.05);
      }
    });

    it.each<[string, EngineOptions, (statistics: EngineStatistics) => boolean]>([
      [
        'batches of 8, their decode steps recorded',
        { maxNumSeqs: 8, enablePrefixCaching: false },
        ({ peakSequences, recordedSteps }) => peakSequences === 8 && recordedSteps > 5,
      ],
      [
        'the prefix cache, nothing recorded',
        { maxNumSeqs: 4, blockSize: 8, enforceEager: true },
        ({ prefixHitTokens, recordedSteps }) => prefixHitTokens > 0 && recordedSteps === 0,
      ],
    ])('gives the same bits with %s', async (_, options, moved) => {
      const { completions, statistics } = await run(loaded, requests(), options);
      expect(moved(statistics)).toBe(true);
      expect(bits(completions)).toBe(bits(alone));
    });
  });

  it.each(['full', 'lora'] as const)('ten steps of training (%s) are those of the CPU', async (method) => {
    const documents = randomDocuments(12, 64);
    const losses: number[][] = [];
    for (const name of ['cpu', deviceName]) {
      const device = Device.open(name);
      const student = await openStudent(device, 'tied', method);
      const settings = { microBatch: 2, gradientAccumulation: 1, sequenceLength: 40, epochs: 4, bits: 32 as const };
      const { losses: curve } = await runSteps(student, documents, { ...settings, learningRate: 1e-3 });
      losses.push(curve.slice(0, 10));
      student.model.dispose();
      student.files.weights.close();
      await device.close();
    }
    expect(losses[0]!.length).toBe(10);
    expect(losses[0]!.at(-1)).toBeLessThan(losses[0]![0]!);
    expectClose(losses[1]!, losses[0]!, 1e-4, 'losses');
  });
});
