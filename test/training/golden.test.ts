// Training against torch and peft: loss, every gradient and ten optimizer steps, full and LoRA, whatever the packing; and a whole
// run from conversations to files.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ActivationCheckpointing } from '../../src/nn/context.js';
import { loadModel } from '../../src/nn/load.js';
import type { CausalLM } from '../../src/nn/model.js';
import { crossEntropy } from '../../src/ops/cross_entropy.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tape } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { loadAdapter } from '../../src/training/adapter_files.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { createDocument, documentsInMemory, type TrainingDocument } from '../../src/training/documents.js';
import { adapterTensors } from '../../src/training/lora_modules.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { AdamW, disposeGradients, type Parameters } from '../../src/training/optimizer.js';
import { savedTensors } from '../../src/training/saved_modules.js';
import { createSchedule } from '../../src/training/schedule.js';
import { train } from '../../src/training/train.js';
import { Trainer } from '../../src/training/trainer.js';
import { adapterFolder, expectClose, goldenArrays, goldenJson, goldenPath, modelFolder } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { readSafetensors } from '../support/safetensors.js';
import { windowOf } from './student.js';

interface GoldenStep {
  loss: number;
  gradNorm: number;
  learningRate: number;
  trainedTokens: number;
}

interface GoldenRun {
  batches: number[][];
  learningRate: number;
  warmupRatio: number;
  weightDecay: number;
  maxGradNorm: number;
  betas: [number, number];
  eps: number;
  steps: GoldenStep[];
}

interface Golden {
  documents: { tokens: number[]; labels: number[] }[];
  loss: number;
  runs: Record<string, GoldenRun>;
}

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterAll(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

/** Adds the gradients of Σ cross-entropy / trained over one packed batch; @returns the loss. */
async function accumulate(
  model: CausalLM,
  documents: readonly TrainingDocument[],
  trained: number,
  activationCheckpointing: ActivationCheckpointing,
): Promise<number> {
  const loss = scope(() => {
    const context = packed(
      device,
      documents.map(({ tokens }) => [...tokens]),
    );
    const targets = Tensor.from(device, Int32Array.from(documents.flatMap((document) => [...document.targets])));
    const weights = Tensor.full(device, [targets.size], 1 / trained);
    using tape = new Tape();
    const training = { step: 0, activationCheckpointing };
    const result = tape.run(() =>
      crossEntropy(model.forward({ ...context, training }), model.outputWeight, targets, weights),
    );
    tape.backward(result);
    return result;
  });
  const [value] = await loss.readFloats();
  loss.dispose();
  return value!;
}

/** The layouts of six documents: which of them share a micro-batch. */
const layouts: [name: string, layout: number[][]][] = [
  ['all in one pack', [[0, 1, 2, 3, 4, 5]]],
  ['in another order', [[5, 3, 1, 4, 2, 0]]],
  [
    'in two micro-batches',
    [
      [4, 0, 3],
      [2, 5, 1],
    ],
  ],
  ['each alone', [[0], [1], [2], [3], [4], [5]]],
];

const cases = [
  { model: 'tied', method: 'training' },
  { model: 'linear', method: 'training' },
  { model: 'tied', method: 'lora' },
  { model: 'linear', method: 'lora' },
  // LoRA beside modules that are trained whole: embeddings (tied to the head, or not), head, a norm.
  { model: 'tied', method: 'saved' },
  { model: 'linear', method: 'saved' },
] as const;

/** As peft's file has them. */
const modulesToSave = { tied: ['embed_tokens'], linear: ['embed_tokens', 'lm_head', 'model.norm'] };

describe.each(cases)('$model, $method', ({ model: name, method }) => {
  const golden = goldenJson<Golden>(`${name}.${method}.json`);
  const arrays = goldenArrays(`${name}.${method}.safetensors`);
  const documents = golden.documents.map(({ tokens, labels }, index) => createDocument(`${index}`, tokens, labels));
  const trained = documents.reduce((sum, document) => sum + document.trained, 0);
  const goldenArray = (group: string, parameter: string) =>
    arrays.get(`${group}/${method === 'training' ? '' : 'base_model.model.'}${parameter}`)!.data;

  let model: CausalLM;
  let parameters: Parameters;
  const load = async (): Promise<void> => {
    ({ model } = await loadModel(modelFolder(name), { device }));
    if (method !== 'training') await loadAdapter(adapterFolder(method === 'saved' ? `${name}-saved` : name), model);
    const saved = method === 'saved' ? savedTensors(model, modulesToSave[name]) : new Map();
    parameters = method === 'training' ? model.weights : new Map([...adapterTensors(model), ...saved]);
    for (const parameter of parameters.values()) parameter.requiresGrad = true;
  };
  afterEach(() => model.dispose());

  it('has a golden gradient for every parameter', async () => {
    await load();
    const recorded = [...arrays.keys()].filter((key) => key.startsWith('gradient/'));
    expect(recorded.length).toBe(parameters.size);
  });

  it.each(layouts)('gives loss and every gradient, documents %s', async (_layout, layout) => {
    for (const checkpointing of ['none', 'layer'] as const) {
      await load();
      let loss = 0;
      for (const batch of layout)
        loss += await accumulate(
          model,
          batch.map((index) => documents[index]!),
          trained,
          checkpointing,
        );
      expect(loss).toBeCloseTo(golden.loss, 5);
      for (const [parameter, { grad }] of parameters)
        expectGradient(await grad!.readFloats(), goldenArray('gradient', parameter), parameter);
      disposeGradients(parameters);
      if (checkpointing === 'none') model.dispose();
    }
  });

  it.each(Object.keys(golden.runs))('makes ten AdamW steps, run %s', async (runName) => {
    await load();
    const run = golden.runs[runName]!;
    const optimizer = new AdamW(parameters, { ...run, bits: 32 });
    const schedule = createSchedule('cosine', run.steps.length, run.warmupRatio);
    const common = { activationCheckpointing: 'none' as const, exchange: null };
    const objective = await loadObjective('cross-entropy');
    const trainer = new Trainer({ ...run, ...common, objective, model, parameters, optimizer, schedule });
    for (const [index, expected] of run.steps.entries()) {
      const window = windowOf(run.batches[index % run.batches.length]!, documents);
      const { metrics } = await trainer.step(index + 1, window, documentsInMemory(documents), index);
      expectStep(metrics, expected);
    }
    for (const [parameter, weight] of parameters)
      expectClose(await weight.readFloats(), goldenArray(runName, parameter), 1e-5, parameter);
    optimizer.dispose();
    disposeGradients(parameters);
  });
});

/** Elementwise within 1e-5, and as a whole within 1e-5 of its length: small gradients must be right too. */
function expectGradient(actual: Float32Array, expected: ArrayLike<number>, name: string): void {
  expectClose(actual, expected, 1e-5, `gradient of ${name}`);
  let [difference, length] = [0, 0];
  for (let index = 0; index < expected.length; index++) {
    difference += (actual[index]! - expected[index]!) ** 2;
    length += expected[index]! ** 2;
  }
  expect(Math.sqrt(difference / length), `relative error of the gradient of ${name}`).toBeLessThan(1e-5);
}

function expectStep(actual: GoldenStep, expected: GoldenStep): void {
  expect(actual.loss).toBeCloseTo(expected.loss, 5);
  expect(Math.abs(actual.gradNorm / expected.gradNorm - 1)).toBeLessThan(1e-5);
  expect(actual.learningRate).toBeCloseTo(expected.learningRate, 12);
  expect(actual.trainedTokens).toBe(expected.trainedTokens);
}

describe.each([
  ['tied', 'tied', 'lora'],
  ['linear', 'linear', 'lora'],
  ['tied', 'tied-saved', 'saved'],
  ['linear', 'linear-saved', 'saved'],
] as const)('the peft adapter of %s, %s', (name, adapter, golden) => {
  it('gives the logits of the adapted model', async () => {
    const { model } = await loadModel(modelFolder(name), { device });
    await loadAdapter(adapterFolder(adapter), model);
    const arrays = goldenArrays(`${name}.${golden}.safetensors`);
    for (const [index, { tokens }] of goldenJson<Golden>(`${name}.${golden}.json`).documents.entries()) {
      const logits = scope(() => linear(model.forward(packed(device, [tokens])), model.outputWeight, 'f32'));
      expectClose(await logits.readFloats(), arrays.get(`logits.${index}`)!.data, 1e-5, `document ${index}`);
      logits.dispose();
    }
    model.dispose();
  });
});

describe('a run from conversations to files', () => {
  const golden = goldenJson<{ settings: Record<string, number>; steps: GoldenStep[] }>('chat.run.json');
  let output: string;
  beforeAll(async () => {
    output = await mkdtemp(join(tmpdir(), 'golden-run-'));
  });
  afterAll(() => rm(output, { recursive: true }));

  it('has the metrics and ends with the weights of torch', async () => {
    const config = parseTrainConfig({
      ...golden.settings,
      model: modelFolder('chat'),
      data: goldenPath('chat.run.jsonl'),
      output,
      method: 'full',
      optimizer: 'adamw',
      // Three packs for four conversations; all of them in every step.
      sequenceLength: 100,
      gradientAccumulation: 4,
      threads: 2,
    });
    const steps: GoldenStep[] = [];
    await train(config, { onStep: (metrics) => steps.push(metrics) });
    expect(steps.length).toBe(golden.steps.length);
    for (const [index, expected] of golden.steps.entries()) expectStep(steps[index]!, expected);
    const written = readSafetensors(join(output, 'model.safetensors'));
    const expected = goldenArrays('chat.run.safetensors');
    expect([...written.keys()].sort()).toEqual([...expected.keys()].sort());
    for (const [parameter, { data }] of expected) expectClose(written.get(parameter)!.data, data, 1e-5, parameter);
  });
});
