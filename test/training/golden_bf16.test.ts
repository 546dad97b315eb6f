// Ten steps in bf16, full and LoRA, beside torch and peft: as close to the same steps in f32 as theirs are. Rounding alone decides
// how close that is, so torch's own distance is the measure.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { loadAdapter } from '../../src/training/adapter_files.js';
import { createDocument, documentsInMemory } from '../../src/training/documents.js';
import { adapterTensors } from '../../src/training/lora_modules.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { AdamW, disposeGradients } from '../../src/training/optimizer.js';
import { createSchedule } from '../../src/training/schedule.js';
import { Trainer } from '../../src/training/trainer.js';
import { adapterFolder, goldenJson, modelFolder } from '../support/fixtures.js';
import { windowOf } from './student.js';

interface Curves {
  f32: { loss: number; gradNorm: number }[];
  bf16: { loss: number; gradNorm: number }[];
}

interface Golden {
  documents: { tokens: number[]; labels: number[] }[];
  run: {
    batches: number[][];
    learningRate: number;
    warmupRatio: number;
    weightDecay: number;
    maxGradNorm: number;
    betas: [number, number];
    eps: number;
  };
  full: Curves;
  lora: Curves;
}

let device: Device;
let loaded: LoadedModel;
beforeAll(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterEach(() => {
  loaded.model.dispose();
  expect(device.statistics().liveTensors).toBe(0);
});
afterAll(() => device.close());

function distance(losses: readonly number[], exact: readonly number[]): number {
  return Math.max(...exact.map((loss, index) => Math.abs(losses[index]! - loss)));
}

describe.each(['tied', 'linear'] as const)('%s in bf16', (name) => {
  const golden = goldenJson<Golden>(`${name}.bf16_training.json`);
  const documents = golden.documents.map(({ tokens, labels }, index) => createDocument(`${index}`, tokens, labels));

  async function losses(method: 'full' | 'lora', exactMasters: boolean): Promise<number[]> {
    loaded = await loadModel(modelFolder(name), {
      device,
      dtype: 'bf16',
      masters: (names) => (exactMasters ? names : []),
    });
    const { model, masters } = loaded;
    if (method === 'lora') await loadAdapter(adapterFolder(name), model);
    const parameters = method === 'lora' ? adapterTensors(model) : model.weights;
    for (const parameter of parameters.values()) parameter.requiresGrad = true;
    const { run } = golden;
    const steps = golden[method].f32.length;
    const optimizer = new AdamW(parameters, { ...run, bits: 32 }, masters);
    const schedule = createSchedule('cosine', steps, run.warmupRatio);
    const objective = await loadObjective('cross-entropy');
    const common = { activationCheckpointing: 'none' as const, exchange: null, objective };
    const trainer = new Trainer({ ...run, ...common, model, parameters, optimizer, schedule });
    const window = windowOf(run.batches[0]!, documents);
    const result: number[] = [];
    for (let step = 1; step <= steps; ++step)
      result.push((await trainer.step(step, window, documentsInMemory(documents), step - 1)).metrics.loss);
    optimizer.dispose();
    disposeGradients(parameters);
    return result;
  }

  it.each(['full', 'lora'] as const)('makes ten steps as close to f32 as theirs, %s', async (method) => {
    const [exact, theirs] = [golden[method].f32, golden[method].bf16].map((steps) => steps.map(({ loss }) => loss));
    expect(exact![0]! - exact!.at(-1)!).toBeGreaterThan(0.1);
    const ours = await losses(method, method === 'full');
    expect(distance(ours, exact!)).toBeLessThan(2 * distance(theirs!, exact!));
  });

  it('needs masters that start from the weights as they are stored', async () => {
    const [exact, theirs] = [golden.full.f32, golden.full.bf16].map((steps) => steps.map(({ loss }) => loss));
    expect(distance(await losses('full', false), exact!)).toBeGreaterThan(4 * distance(theirs!, exact!));
  });
});
