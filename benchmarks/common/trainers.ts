/** Trainers of one model on one packed batch, step after step: this one and torch. */
import { basename, dirname } from 'node:path';
import { Peer } from '../../src/bench/peer.js';
import type { ActivationCheckpointing } from '../../src/nn/context.js';
import type { LoadedModel } from '../../src/nn/load.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { documentsInMemory, type TrainingDocument } from '../../src/training/documents.js';
import { adapterTensors, attachLora } from '../../src/training/lora_modules.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { AdamW, disposeGradients, type Parameters } from '../../src/training/optimizer.js';
import type { Window } from '../../src/training/packing.js';
import { createSchedule } from '../../src/training/schedule.js';
import { Trainer } from '../../src/training/trainer.js';
import { windowFlops } from '../../src/training/utilisation.js';
import type { Contender } from './contest.js';

export interface StepRun {
  readonly seconds: number;
  readonly loss: number;
}

export interface TrainingContender extends Contender {
  readonly settings: Readonly<Record<string, unknown>>;
  /** Floating-point operations of the matrix products of a step, and the dtype of their factors, where known. */
  readonly flops?: { readonly count: number; readonly dtype: 'f32' | 'bf16' };
  /** Forward, backward, clipping and update on the batch. */
  step(): Promise<StepRun>;
}

export interface TrainingSetup {
  readonly method: 'full' | 'lora';
  /** Token ids of documents of one length; every next token is trained. */
  readonly documents: readonly (readonly number[])[];
  readonly rank: number;
  readonly dropout: number;
  readonly learningRate: number;
  readonly activationCheckpointing: ActivationCheckpointing;
}

/** This trainer with 32-bit AdamW. It changes the model, which it does not own. */
export async function ourTrainer(
  { model, masters }: Pick<LoadedModel, 'model' | 'masters'>,
  setup: TrainingSetup,
): Promise<TrainingContender> {
  const { method, rank, dropout, learningRate, activationCheckpointing } = setup;
  const config = parseTrainConfig({
    model: 'given',
    data: 'given',
    output: 'none',
    method,
    lora: { rank, dropout },
    learningRate,
    optimizer: 'adamw',
    activationCheckpointing,
  });
  if (method === 'lora') attachLora(model, { ...config.lora, seed: config.seed });
  const parameters: Parameters = method === 'lora' ? adapterTensors(model) : model.weights;
  for (const parameter of parameters.values()) parameter.requiresGrad = true;
  const optimizer = new AdamW(parameters, { ...config, bits: 32 }, masters);
  const objective = await loadObjective(config.objective, config.objectiveOptions);
  const schedule = createSchedule('constant', 1, 0);
  const trainer = new Trainer({ ...config, model, parameters, optimizer, schedule, objective, exchange: null });
  const list = setup.documents.map(toDocument);
  const window = oneWindow(list);
  const documents = documentsInMemory(list);
  let steps = 0;
  return {
    name: `compress-distill ${model.dtype}`,
    flops: { count: windowFlops(model, window, documents.lengths), dtype: model.dtype },
    settings: { dtype: model.dtype, optimizer: 'AdamW, f32 master weights and state', activationCheckpointing },
    async step() {
      const begin = performance.now();
      const { metrics } = await trainer.step(steps + 1, window, documents, steps);
      await model.device.synchronize(); // the update too
      steps += 1;
      return { seconds: (performance.now() - begin) / 1000, loss: metrics.loss };
    },
    async stop() {
      optimizer.dispose();
      disposeGradients(parameters);
      for (const parameter of parameters.values()) parameter.requiresGrad = false;
    },
  };
}

function toDocument(tokens: readonly number[], index: number): TrainingDocument {
  const targets = Int32Array.from(tokens, (_, position) => tokens[position + 1] ?? -1);
  return { id: String(index), tokens: Int32Array.from(tokens), targets, trained: tokens.length - 1, data: {} };
}

/** All documents in one pack, one micro-batch, one step. */
function oneWindow(documents: readonly TrainingDocument[]): Window {
  const tokens = documents.reduce((sum, document) => sum + document.tokens.length, 0);
  const trained = documents.reduce((sum, document) => sum + document.trained, 0);
  const pack = { documents: documents.map((_, index) => index), tokens, trained };
  return { microBatches: [{ packs: [pack], tokens }], tokens, trained };
}

/** `f32`, `bf16` (weights and state too) or `autocast` (f32 weights, products in bf16). */
export type TorchPrecision = 'f32' | 'bf16' | 'autocast';

/** transformers' model, peft's adapters, torch's fused AdamW. @throws PeerUnavailable */
export async function torchTrainer(
  python: string,
  path: string,
  threads: number,
  precision: TorchPrecision,
  setup: TrainingSetup,
): Promise<TrainingContender> {
  const model = path.endsWith('.gguf') ? { folder: dirname(path), gguf: basename(path) } : { folder: path, gguf: null };
  const peer = await Peer.start([python, 'torch_train.py']);
  try {
    const { documents, ...settings } = setup;
    const said = await peer.ask<object>({ task: 'load', ...model, precision, threads, documents, ...settings });
    return {
      name: `${peer.name} ${precision}`,
      settings: { precision, threads, ...said },
      step: () => peer.ask<StepRun>({ task: 'step' }),
      stop: () => peer.stop(),
    };
  } catch (error) {
    await peer.stop();
    throw error;
  }
}
