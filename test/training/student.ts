// Tiny students and documents for the tests of training.
import { expect } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import type { ActivationCheckpointing } from '../../src/nn/context.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { takePart } from '../../src/nn/shard.js';
import { Device } from '../../src/tensor/device.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import {
  createDocument,
  type Documents,
  documentsInMemory,
  type TrainingDocument,
} from '../../src/training/documents.js';
import { FullySharded, Shards } from '../../src/training/fully_sharded.js';
import { GradientReduction } from '../../src/training/gradient_exchange.js';
import { adapterTensors, attachLora } from '../../src/training/lora_modules.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { AdamW } from '../../src/training/optimizer.js';
import type { Window } from '../../src/training/packing.js';
import { randomWord, uniform } from '../../src/training/philox.js';
import { TrainingPlan } from '../../src/training/plan.js';
import { createSchedule } from '../../src/training/schedule.js';
import { shardRange } from '../../src/training/sharded_tensor.js';
import { placeOf } from '../../src/training/state_parts.js';
import { parameterParts } from '../../src/training/tensor_parallel.js';
import { Trainer, type TrainerOptions } from '../../src/training/trainer.js';
import { expectClose, GOLDEN_MODELS, type GoldenModel, modelFolder, relativeError } from '../support/fixtures.js';

export const allLinears = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'];

/** Documents of 2 to 20 tokens below `vocabulary`; about half of their tokens are trained. */
export function randomDocuments(count: number, vocabulary: number, seed = 1): TrainingDocument[] {
  return Array.from({ length: count }, (_, index) => {
    const length = 2 + (randomWord(seed, 1, index, 0) % 19);
    const tokens = Array.from({ length }, (_, position) => randomWord(seed, 2, index, position) % vocabulary);
    const labels = tokens.map((token, position) =>
      position === 1 || randomWord(seed, 3, index, position) % 2 ? token : -1,
    );
    return createDocument(`document ${index}`, tokens, labels);
  });
}

/** Each document a pack and a micro-batch of its own. */
export function windowOf(indices: readonly number[], documents: readonly TrainingDocument[]): Window {
  const packs = indices.map((index) => {
    const { tokens, trained } = documents[index]!;
    return { documents: [index], tokens: tokens.length, trained };
  });
  const total = (key: 'tokens' | 'trained') => packs.reduce((sum, pack) => sum + pack[key], 0);
  return {
    microBatches: packs.map((pack) => ({ packs: [pack], tokens: pack.tokens })),
    tokens: total('tokens'),
    trained: total('trained'),
  };
}

/** All of them, in order. */
export function listOf(documents: Documents): TrainingDocument[] {
  return Array.from({ length: documents.count }, (_, index) => documents.at(index));
}

export interface Student extends LoadedModel {
  parameters: ReadonlyMap<string, Tensor>;
  /** Where ranks keep parts of the model: this one's. */
  shards?: Shards;
}

/**
 * A golden model or the one in a folder, with every weight trainable, or with adapters of rank 4 whose B is not zero.
 * @param options with `shards`, this rank keeps its parts of it alone
 */
export async function openStudent(
  device: Device,
  name: string,
  method: 'full' | 'lora',
  options: {
    dtype?: 'f32' | 'bf16';
    dropout?: number;
    shards?: Shards | null;
    group?: Communicator | null;
  } = {},
): Promise<Student> {
  const { dtype = 'f32', shards = null, group = null } = options;
  const loaded = await loadModel(
    GOLDEN_MODELS.includes(name as GoldenModel) ? modelFolder(name as GoldenModel) : name,
    {
      ...{ device, dtype, group },
      ...(shards && {
        place: (each, weight, master) => shards.add(each, weight, master),
        looksAt: (elements) => shardRange(elements, shards.communicator),
      }),
    },
  );
  const { model } = loaded;
  if (method === 'lora') {
    attachLora(model, {
      rank: 4,
      alpha: 8,
      dropout: options.dropout ?? 0,
      targetModules: allLinears,
      rsLora: false,
      seed: 5,
    });
    let stream = 0;
    for (const linear of model.linears.values()) {
      const part = linear.adapterParts(4).b;
      linear.adapter?.b.write(takePart(uniform(9, 1, ++stream, 4 * part.whole[0]!, -0.3, 0.3), part));
    }
  }
  const parameters = method === 'lora' ? adapterTensors(model) : model.weights;
  for (const parameter of parameters.values()) parameter.requiresGrad = true;
  if (shards) for (const [each, tensor] of adapterTensors(model)) shards.add(each, tensor);
  return { ...loaded, parameters, ...(shards && { shards }) };
}

export async function readAll(tensors: ReadonlyMap<string, Tensor | null>): Promise<Map<string, Float32Array>> {
  const values = new Map<string, Float32Array>();
  for (const [name, tensor] of tensors) values.set(name, await tensor!.readFloats());
  return values;
}

export interface RunSettings {
  microBatch: number;
  gradientAccumulation: number;
  sequenceLength: number;
  epochs: number;
  bits: 8 | 32;
  learningRate: number;
  stochasticRounding: boolean;
}

/** Trains a student on documents with plain settings. @returns losses and gradient norms of the steps */
export async function runSteps(
  student: Student,
  documents: readonly TrainingDocument[],
  settings: Partial<RunSettings>,
  overrides: Partial<TrainerOptions> = {},
  afterStep: () => Promise<void> = async () => {},
  atEnd: (optimizer: AdamW) => Promise<void> = async () => {},
): Promise<{ losses: number[]; gradNorms: number[] }> {
  const {
    bits,
    learningRate,
    stochasticRounding = false,
    ...shape
  } = {
    ...{ microBatch: 1, gradientAccumulation: 8, sequenceLength: 64, epochs: 2, bits: 32 as const, learningRate: 1e-3 },
    ...settings,
  };
  const stored = documentsInMemory(documents);
  const plan = await TrainingPlan.create(stored, { ...shape, seed: 3 });
  const options = { bits, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0, stochasticRounding };
  const { model, shards } = student;
  const parameters = shards?.of(student.parameters) ?? student.parameters;
  const parts = parameterParts(model);
  const place = (name: string) => placeOf(parts.get(name)!, model.group?.size ?? 1, shards?.first(name));
  const optimizer = new AdamW(parameters, options, shards?.masters, place);
  const trainer = new Trainer({
    ...{ model, parameters, optimizer, learningRate, maxGradNorm: 1 },
    ...{
      schedule: createSchedule('cosine', plan.totalSteps, 0),
      activationCheckpointing: 'none' as const,
      exchange: null,
    },
    objective: await loadObjective('cross-entropy'),
    ...overrides,
  });
  const losses: number[] = [];
  const gradNorms: number[] = [];
  try {
    for await (const { step, window, firstMicroBatch } of plan.stepsAfter(0)) {
      const { metrics } = await trainer.step(step, window, stored, firstMicroBatch);
      losses.push(metrics.loss);
      gradNorms.push(metrics.gradNorm);
      await afterStep();
    }
    await atEnd(optimizer);
  } finally {
    optimizer.dispose();
  }
  return { losses, gradNorms };
}

export interface RankSettings extends Partial<RunSettings> {
  method: 'full' | 'lora';
  /** A golden one, or a folder. */
  model: string;
  /** Default: cpu. */
  device?: string;
  dtype?: 'f32' | 'bf16';
  activationCheckpointing?: ActivationCheckpointing;
  /** Each rank keeps a part of the model. */
  sharded?: boolean;
  /** 0: no clipping. */
  maxGradNorm?: number;
}

let groups = 0;

/**
 * Trains a student on several ranks, which are devices of this thread.
 * @returns what each of them has at the end, and the most memory that it had in use until `atEnd` was through
 */
export async function trainOnRanks(
  ranks: number,
  settings: RankSettings,
  documents: readonly TrainingDocument[],
  atEnd: (student: Student, rank: number) => Promise<void> = async () => {},
) {
  const { method, model: name, device: deviceName = 'cpu', dtype = 'f32', sharded = false, ...shape } = settings;
  const { activationCheckpointing = 'none', maxGradNorm = 1 } = settings;
  const devices = Array.from({ length: ranks }, () => Device.open(deviceName, { threads: 1 }));
  const group = `ranks-${process.pid}-${++groups}`;
  const results = await Promise.all(
    devices.map(async (device, rank) => {
      const communicator = ranks > 1 ? new Communicator(device, group, rank, ranks) : null;
      const shards = communicator && sharded ? new Shards(communicator) : null;
      const student = await openStudent(device, name, method, { dropout: 0.1, dtype, shards });
      const { model, parameters } = student;
      const exchange = shards
        ? new FullySharded(model, shards)
        : communicator && new GradientReduction(model, parameters, communicator);
      const run = await runSteps(student, documents, shape, { exchange, activationCheckpointing, maxGradNorm });
      await atEnd(student, rank);
      const { peakBytes } = device.statistics();
      shards?.gather(parameters);
      const weights = await readAll(parameters);
      shards?.dispose();
      model.dispose();
      expect(device.statistics().liveTensors).toBe(0);
      return { ...run, weights, peakBytes };
    }),
  );
  await Promise.all(devices.map((device) => device.close()));
  return results;
}

/** Expects every rank to end with the same bits, which are those of `alone` but for 1e-6 of rounding. */
export function expectTrained(
  results: Awaited<ReturnType<typeof trainOnRanks>>,
  [alone]: Awaited<ReturnType<typeof trainOnRanks>>,
  leastSteps = 10,
): void {
  for (const { losses, gradNorms, weights } of results) {
    expect(losses.length).toBeGreaterThanOrEqual(leastSteps);
    expectClose(losses, alone!.losses, 1e-6, 'losses');
    expectClose(gradNorms, alone!.gradNorms, 2e-6, 'gradient norms');
    for (const [name, values] of weights) expect(values, name).toEqual(results[0]!.weights.get(name));
  }
  for (const [name, values] of alone!.weights)
    expect(relativeError(results[0]!.weights.get(name)!, values), name).toBeLessThan(1e-6);
}
