// One rank of a training run: its own device, model, optimizer and share of every window.

import { Mesh } from '../distributed/mesh.js';
import { UserError } from '../errors.js';
import { type LoadedModel, loadModel } from '../nn/load.js';
import type { CausalLM } from '../nn/model.js';
import { Device } from '../tensor/device.js';
import { inFileOrder } from '../weights/safetensors_writer.js';
import { loadAdapter } from './adapter_files.js';
import {
  type Checkpoint,
  checkpointFolder,
  restoreCheckpoint,
  restoreParts,
  type StateWriter,
  saveShard,
} from './checkpoint.js';
import type { TrainConfig } from './config.js';
import { giveParts, takePartInExport } from './export.js';
import { FullySharded, Shards } from './fully_sharded.js';
import { GradientReduction } from './gradient_exchange.js';
import { adapterTensors, attachLora } from './lora_modules.js';
import type { SkippedStep, StepMetrics, ValidationMetrics } from './metrics.js';
import { loadObjective } from './objectives/load.js';
import { AdamW, type Parameters } from './optimizer.js';
import { TrainingPlan } from './plan.js';
import { mayBeSaved, savedTensors, savedWeights } from './saved_modules.js';
import { createSchedule } from './schedule.js';
import { shardRange } from './sharded_tensor.js';
import { placeOf, statePart, stateToWrite } from './state_parts.js';
import { type Selection, StoredDocuments } from './stored_documents.js';
import { parameterParts } from './tensor_parallel.js';
import { TokenisedFile } from './tokenised_file.js';
import { DivergenceError, Trainer } from './trainer.js';
import { Validation } from './validation.js';

/** Steps in a row that may be skipped; so many are no accident of the data. */
const mostSkipped = 10;

/** What a rank needs to know; can be sent to another thread. */
export interface RankSetup {
  readonly config: TrainConfig;
  readonly documents: Selection;
  /** Held out, of the same file; their loss is computed now and then. */
  readonly validation: Selection;
  readonly rank: number;
  readonly ranks: number;
  /** Name of the group that the ranks meet in. */
  readonly group: string;
  /** The process of each rank; empty where there is one. */
  readonly processOf: readonly number[];
  readonly device: string;
  readonly threads: number;
  readonly checkpoint: Checkpoint | null;
  /** Floating-point operations a second that all ranks together can do; null: not known. */
  readonly peakFlops: number | null;
}

/** What the rank that leads does beside training; the others pass nothing. */
export interface RankDuties {
  stopRequested(): boolean;
  /** Before the first step. */
  started(plan: TrainingPlan, trainableParameters: number): Promise<void>;
  stepDone(metrics: StepMetrics): Promise<void>;
  stepSkipped(skipped: SkippedStep): Promise<void>;
  validated(metrics: ValidationMetrics): Promise<void>;
  /**
   * Writes a checkpoint, together with the other ranks where each has a part of it.
   * @param keepAll whether the checkpoints before it stay, however many they are; else the latest `keepLast` do.
   */
  save(step: number, optimizer: AdamW, shards: Shards | null, toWrite: StateWriter, keepAll: boolean): Promise<void>;
  /** @param shards where every rank has a part of the weights, and the others {@link takePartInExport} */
  finished(loaded: LoadedModel, shards: Shards | null): Promise<void>;
}

/** The weights of the model, among these names, that are trained as they are. */
function trainedWeights({ method, lora }: TrainConfig, names: readonly string[]): readonly string[] {
  return method === 'full' ? names : savedWeights(names, lora.modulesToSave);
}

function trainedParameters({ method, lora }: TrainConfig, model: CausalLM): Parameters {
  if (method === 'full') return model.weights;
  return new Map([...adapterTensors(model), ...savedTensors(model, lora.modulesToSave)]);
}

/**
 * Trains to the end, or until some rank asks to stop.
 * @returns whether the run was finished
 * @throws {DivergenceError} when loss or gradients are not finite; the state before that step has been saved
 */
export async function trainRank(setup: RankSetup, duties: RankDuties | null): Promise<boolean> {
  const { config, rank, group, processOf, threads, checkpoint, peakFlops } = setup;
  const device = Device.open(setup.device, { threads });
  let data: TokenisedFile | null = null;
  try {
    data = await TokenisedFile.open(setup.documents.path);
    const documents = new StoredDocuments(data, setup.documents);
    const heldOut = new StoredDocuments(data, setup.validation);
    const mesh = new Mesh(device, { group, rank, shape: config.mesh, processOf });
    await mesh.join();
    const communicator = mesh.dp;
    const shards = communicator && config.fullyShard ? new Shards(communicator) : null;
    const objective = await loadObjective(config.objective, config.objectiveOptions);
    // What an adapter's file may replace is taken apart after that.
    const replaced = config.adapter === undefined ? [] : config.lora.modulesToSave;
    const loaded = await loadModel(config.model, {
      device,
      dtype: config.dtype,
      text: config,
      group: mesh.tp,
      masters: (names) => (config.stochasticRounding ? [] : trainedWeights(config, names)),
      ...(shards && {
        place: (name, weight, master) => {
          if (!mayBeSaved(name, replaced)) shards.add(name, weight, master);
        },
        ...(replaced.length === 0 && { looksAt: (elements) => shardRange(elements, shards.communicator) }),
      }),
    });
    const { model, masters } = loaded;
    if (config.method === 'lora') attachLora(model, { ...config.lora, seed: config.seed });
    if (config.adapter !== undefined) {
      const chosen = adapterTensors(model).size;
      await loadAdapter(config.adapter, model, { seed: config.seed, dropout: config.lora.dropout, masters });
      const found = adapterTensors(model).size;
      if (found !== chosen) {
        throw new UserError(
          `${config.adapter}: Expected weights for the ${chosen / 2} layers that its 'target_modules' name but there are those of ${found / 2}; save the adapter again`,
        );
      }
    }
    if (shards) {
      for (const [name, tensor] of [...model.weights, ...adapterTensors(model)])
        if (!shards.tensors.has(name)) shards.add(name, tensor, masters.get(name));
      await shards.expectSound();
    }
    const parameters = trainedParameters(config, model);
    let trainable = 0;
    const parts = parameterParts(model);
    for (const [name, parameter] of parameters) {
      parameter.requiresGrad = true;
      trainable += parts.get(name)!.whole.reduce((product, length) => product * length, 1);
    }
    const settings = { ...config, bits: config.optimizer === 'adamw_8bit' ? (8 as const) : (32 as const) };
    const own = shards?.of(parameters) ?? parameters;
    const place = (name: string) => placeOf(parts.get(name)!, config.mesh.tp, shards?.first(name));
    const optimizer = new AdamW(own, settings, shards?.masters ?? masters, place);
    if (checkpoint) {
      const [state, layout] = [optimizer.state(), optimizer.layout()];
      if (mesh.tp) await restoreParts(checkpoint, state, layout, statePart(parts), shards && communicator);
      else await restoreCheckpoint(checkpoint, state, layout, shards ? rank : 0);
      optimizer.restored();
      model.weightsChanged();
    }
    const plan = await TrainingPlan.create(documents, config);
    const schedule = createSchedule(config.schedule, plan.totalSteps, config.warmupRatio);
    const exchange = shards
      ? new FullySharded(model, shards)
      : communicator && new GradientReduction(model, parameters, communicator);
    const common = { model, parameters: own, optimizer, schedule, objective, exchange, peakFlops };
    const trainer = new Trainer({ ...config, ...common });
    await duties?.started(plan, trainable);

    let saved = checkpoint?.step ?? 0;
    const save = async (step: number, keepAll = false) => {
      // The ranks that hold the model together write one file; others that keep parts of it a file each.
      const toWrite = stateToWrite(model, shards && communicator);
      if (duties) await duties.save(step, optimizer, mesh.tp ? null : shards, toWrite, keepAll);
      else if (mesh.tp && (shards || mesh.dpRank === 0))
        for (const { read } of inFileOrder(toWrite(optimizer.state()))) await read();
      else if (shards && !mesh.tp)
        await saveShard(checkpointFolder(config.output), step, optimizer.state(), shards.communicator);
      saved = step;
    };
    const validation = heldOut.count > 0 ? await Validation.create(heldOut, config.sequenceLength) : null;
    const validate = async (step: number) => {
      if (validation === null) return;
      const losses = await validation.losses(model, objective, exchange).catch(async (error: unknown) => {
        // It stops the run; what the run has learnt stays.
        if (step > saved) await save(step, true);
        throw error;
      });
      trainer.restartClock();
      await duties?.validated({ step, ...losses });
    };
    if (saved === 0) await validate(0);
    let skipped = 0;
    for await (const { step, window, firstMicroBatch } of plan.stepsAfter(saved)) {
      const stop = duties?.stopRequested() ?? false;
      const result = await trainer
        .step(step, window, documents, firstMicroBatch, stop)
        .catch(async (error: unknown) => {
          // All ranks have the same loss and gradients, so all are here.
          if (!(error instanceof DivergenceError)) throw error;
          skipped += 1;
          if (config.nonFinite === 'skip' && skipped < mostSkipped) {
            await duties?.stepSkipped({ step, skipped: error.message });
            return null;
          }
          // The update of this step was not made, so the state is that of the step before. It may be what went wrong: none goes for it.
          if (step - 1 > saved) await save(step - 1, true);
          throw error;
        });
      if (result) {
        skipped = 0;
        await duties?.stepDone(result.metrics);
      }
      const last = step === plan.totalSteps;
      if (last || (config.validateEvery > 0 && step % config.validateEvery === 0)) await validate(step);
      const due = config.checkpointEvery > 0 && step % config.checkpointEvery === 0;
      if ((result?.stopRequested || due) && !last) await save(step);
      if (result?.stopRequested && !last) return false;
    }
    if (shards && config.method === 'lora') shards.gather(parameters);
    if (duties) await duties.finished(loaded, shards);
    else if (mesh.tp && mesh.dpRank === 0) await giveParts(model, config, shards);
    else if (shards && config.method === 'full') takePartInExport(model, shards);
    return true;
  } finally {
    data?.close();
    await device.close();
  }
}
