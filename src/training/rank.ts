// One rank of a training run: its own device, model, optimizer and share of every window.

import { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import { type LoadedModel, loadModel } from '../nn/load.js';
import type { CausalLM } from '../nn/model.js';
import { Device } from '../tensor/device.js';
import { loadAdapter } from './adapter_files.js';
import { type Checkpoint, restoreCheckpoint } from './checkpoint.js';
import type { TrainConfig } from './config.js';
import { GradientReduction } from './gradient_exchange.js';
import { adapterTensors, attachLora } from './lora_modules.js';
import type { SkippedStep, StepMetrics, ValidationMetrics } from './metrics.js';
import { loadObjective } from './objectives/load.js';
import { AdamW, type Parameters } from './optimizer.js';
import { TrainingPlan } from './plan.js';
import { savedTensors, savedWeights } from './saved_modules.js';
import { createSchedule } from './schedule.js';
import { type Selection, StoredDocuments } from './stored_documents.js';
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
  /** Asked after every step: whether a checkpoint is due. */
  checkpointDue(step: number): boolean;
  /** @param keepAll whether the checkpoints before it stay, however many they are; default: the latest `keepLast` do. */
  save(step: number, optimizer: AdamW, keepAll?: boolean): Promise<void>;
  finished(loaded: LoadedModel): Promise<void>;
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
  const { config, rank, ranks, group, threads, checkpoint, peakFlops } = setup;
  const device = Device.open(config.device, { threads });
  let data: TokenisedFile | null = null;
  try {
    data = await TokenisedFile.open(setup.documents.path);
    const documents = new StoredDocuments(data, setup.documents);
    const heldOut = new StoredDocuments(data, setup.validation);
    const communicator = ranks > 1 ? new Communicator(device, group, rank, ranks) : null;
    const objective = await loadObjective(config.objective, config.objectiveOptions);
    const loaded = await loadModel(config.model, {
      device,
      dtype: config.dtype,
      text: config,
      masters: (names) => (config.stochasticRounding ? [] : trainedWeights(config, names)),
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
    const parameters = trainedParameters(config, model);
    let trainable = 0;
    for (const parameter of parameters.values()) {
      parameter.requiresGrad = true;
      trainable += parameter.size;
    }
    const optimizer = new AdamW(parameters, { ...config, bits: config.optimizer === 'adamw_8bit' ? 8 : 32 }, masters);
    if (checkpoint) {
      await restoreCheckpoint(checkpoint, optimizer.state());
      optimizer.restored();
      model.weightsChanged();
    }
    const plan = await TrainingPlan.create(documents, config);
    const schedule = createSchedule(config.schedule, plan.totalSteps, config.warmupRatio);
    const exchange = communicator && new GradientReduction(model, parameters, communicator);
    const common = { model, parameters, optimizer, schedule, objective, exchange, peakFlops };
    const trainer = new Trainer({ ...config, ...common });
    await duties?.started(plan, trainable);

    let saved = checkpoint?.step ?? 0;
    const validation = heldOut.count > 0 ? await Validation.create(heldOut, config.sequenceLength) : null;
    const validate = async (step: number) => {
      if (validation === null) return;
      const losses = await validation.losses(model, objective, communicator).catch(async (error: unknown) => {
        // It stops the run; what the run has learnt stays.
        if (step > saved) await duties?.save(step, optimizer, true);
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
          if (duties && step - 1 > saved) await duties.save(step - 1, optimizer, true);
          throw error;
        });
      if (result) {
        skipped = 0;
        await duties?.stepDone(result.metrics);
      }
      const last = step === plan.totalSteps;
      if (last || (config.validateEvery > 0 && step % config.validateEvery === 0)) await validate(step);
      if (duties && (result?.stopRequested || duties.checkpointDue(step)) && !last) {
        await duties.save(step, optimizer);
        saved = step;
      }
      if (result?.stopRequested && !last) return false;
    }
    await duties?.finished(loaded);
    return true;
  } finally {
    data?.close();
    await device.close();
  }
}
