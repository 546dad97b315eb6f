// Tiny Llamas saved by transformers, loaded from their files: logits, log-probabilities and greedy tokens agree with transformers'.
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import type { CausalLM } from '../../src/nn/model.js';
import { tokenLogprobs } from '../../src/ops/cross_entropy.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import {
  copyWithOldConfig,
  expectClose,
  GOLDEN_MODELS,
  goldenArrays,
  goldenOutputs,
  modelFolder,
} from '../support/fixtures.js';
import { packed } from '../support/packed.js';

/** Logits of all documents packed into one batch: one [T, V] array per document. */
async function logitsOf(model: CausalLM, documents: readonly number[][]): Promise<Float32Array[]> {
  const tensor = scope(() => linear(model.forward(packed(model.device, documents)), model.outputWeight, 'f32'));
  const all = await tensor.readFloats();
  tensor.dispose();
  let end = 0;
  return documents.map((tokens) => {
    const start = end;
    end += tokens.length * model.config.vocabSize;
    return all.subarray(start, end);
  });
}

function argmax(row: Float32Array): number {
  return row.reduce((best, value, index) => (value > row[best]! ? index : best), 0);
}

function rootMeanSquare(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < b.length; index++) sum += (a[index]! - b[index]!) ** 2;
  return Math.sqrt(sum / b.length);
}

describe.each(['cpu', 'cpu-chaos'])('golden Llamas on %s', (deviceName) => {
  let device: Device;
  beforeAll(() => {
    device = Device.open(deviceName, { threads: 2 });
  });
  afterAll(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  describe.each(GOLDEN_MODELS)('%s', (name) => {
    const golden = goldenOutputs(name);
    const arrays = goldenArrays(`${name}.safetensors`);
    const goldenLogits = golden.documents.map((_, index) => arrays.get(`logits.${index}`)!.data);
    let model: CausalLM;
    beforeAll(async () => {
      ({ model } = await loadModel(modelFolder(name), { device }));
    });
    afterAll(() => model.dispose());

    it('gives the logits of transformers within 1e-5', async () => {
      const logits = await logitsOf(model, golden.documents);
      for (const [d, expected] of goldenLogits.entries())
        expectClose(logits[d]!, expected, 1e-5, `logits of document ${d}`);
    });

    it('gives the log-probability of every token within 1e-5', async () => {
      const tensor = scope(() => {
        const hidden = model.forward(packed(device, golden.documents));
        const next = golden.documents.flatMap((tokens) => [...tokens.slice(1), -1]);
        return tokenLogprobs(hidden, model.outputWeight, Tensor.from(device, Int32Array.from(next))).logprobs;
      });
      // A document's last row has no target: 0.
      const expected = golden.logprobs.flatMap((row) => [...(row.slice(1) as number[]), 0]);
      expectClose(await tensor.readFloats(), expected, 1e-5, 'log-probabilities');
      tensor.dispose();
    });

    it('goes on greedily with the same 20 tokens', async () => {
      const sequences = golden.documents.map((tokens) => [...tokens]);
      for (let step = 0; step < golden.greedy[0]!.tokens.length; step++) {
        const logits = await logitsOf(model, sequences);
        for (const [d, tokens] of sequences.entries())
          tokens.push(argmax(logits[d]!.subarray(-model.config.vocabSize)));
      }
      const continuations = sequences.map((tokens, d) => tokens.slice(golden.documents[d]!.length));
      expect(continuations).toEqual(golden.greedy.map(({ tokens }) => tokens));
    });

    it('reads the config of transformers 4 as the same model', async () => {
      const folder = copyWithOldConfig(name);
      try {
        const { model: old } = await loadModel(folder, { device });
        expect(await logitsOf(old, golden.documents)).toEqual(await logitsOf(model, golden.documents));
        old.dispose();
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

  it('is in bf16 at most twice as far from f32 as transformers in bf16', async () => {
    const { documents } = goldenOutputs('bf16');
    const arrays = goldenArrays('bf16.safetensors');
    const { model } = await loadModel(modelFolder('bf16'), { device, dtype: 'bf16' });
    const logits = await logitsOf(model, documents);
    model.dispose();
    for (const d of documents.keys()) {
      const exact = arrays.get(`logits.${d}`)!.data;
      const theirs = rootMeanSquare(arrays.get(`lowPrecisionLogits.${d}`)!.data, exact);
      const ours = rootMeanSquare(logits[d]!, exact);
      expect(ours, `document ${d}`).toBeLessThanOrEqual(2 * theirs);
      expect(ours, `document ${d}`).toBeGreaterThan(0);
    }
  });
});
