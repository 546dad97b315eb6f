// What the leading rank of a training run does beside computing: files, and who is told.

import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import type { LoadedModel } from '../nn/load.js';
import { type Checkpoint, checkpointFolder, latestCheckpoint, type StateWriter, saveCheckpoint } from './checkpoint.js';
import type { TrainConfig } from './config.js';
import type { Dataset } from './dataset.js';
import { exportAdapter, exportModel } from './export.js';
import type { Shards } from './fully_sharded.js';
import {
  MetricsLog,
  readMetrics,
  readValidation,
  type SkippedStep,
  type StepMetrics,
  type ValidationMetrics,
} from './metrics.js';
import type { AdamW } from './optimizer.js';
import type { TrainingPlan } from './plan.js';
import type { RankDuties } from './rank.js';
import type { TrainOptions, TrainResult, TrainStart } from './train.js';

const resultFile = 'training.json';

/** What a finished run of this fingerprint came to; null if there is none. */
export async function finishedRun(output: string, fingerprint: string): Promise<TrainResult | null> {
  try {
    const stored = JSON.parse(await readFile(join(output, resultFile), 'utf8')) as {
      fingerprint: string;
      result: TrainResult;
    };
    return stored.fingerprint === fingerprint ? { ...stored.result, output } : null;
  } catch {
    return null;
  }
}

type BeforeLoading = Pick<TrainStart, 'validationRows' | 'weights' | 'memory' | 'availableMemory'>;

/** The duties of the leading rank: what is written, when, and who is told. */
export class Run implements RankDuties {
  readonly checkpoint: Checkpoint | null;
  readonly checkpoints: string;
  result: TrainResult | null = null;
  readonly #config: TrainConfig;
  readonly #dataset: Dataset;
  readonly #before: BeforeLoading;
  readonly #fingerprint: string;
  readonly #options: TrainOptions;
  readonly #log: MetricsLog;
  #plan: TrainingPlan | null = null;
  #begin = 0;
  #trainableParameters = 0;

  static async open(
    config: TrainConfig,
    dataset: Dataset,
    before: BeforeLoading,
    fingerprint: string,
    options: TrainOptions,
  ): Promise<Run> {
    const checkpoints = checkpointFolder(config.output);
    await mkdir(config.output, { recursive: true });
    if (!config.resume) await rm(checkpoints, { recursive: true, force: true });
    const checkpoint = await latestCheckpoint(checkpoints);
    if (checkpoint && checkpoint.fingerprint !== fingerprint) {
      throw new UserError(
        `${checkpoint.path}: Expected a checkpoint of this run but it has other settings, model or data; choose another 'output', or set 'resume: false' to start over`,
      );
    }
    await rm(join(config.output, resultFile), { force: true });
    const log = await MetricsLog.open(join(config.output, 'metrics.jsonl'), checkpoint?.step ?? 0);
    return new Run(config, dataset, before, fingerprint, options, log, checkpoint, checkpoints);
  }

  private constructor(
    config: TrainConfig,
    dataset: Dataset,
    before: BeforeLoading,
    fingerprint: string,
    options: TrainOptions,
    log: MetricsLog,
    checkpoint: Checkpoint | null,
    checkpoints: string,
  ) {
    this.#config = config;
    this.#dataset = dataset;
    this.#before = before;
    this.#fingerprint = fingerprint;
    this.#options = options;
    this.#log = log;
    this.checkpoint = checkpoint;
    this.checkpoints = checkpoints;
  }

  stopRequested(): boolean {
    return this.#options.signal?.aborted ?? false;
  }

  async started(plan: TrainingPlan, trainableParameters: number): Promise<void> {
    this.#plan = plan;
    this.#trainableParameters = trainableParameters;
    this.#options.onStart?.({
      dataset: this.#dataset.report,
      ...this.#before,
      totalSteps: plan.totalSteps,
      resumedStep: this.checkpoint?.step ?? 0,
      packs: plan.packing.count,
      packingEfficiency: plan.packing.efficiency,
      trainableParameters,
    });
    this.#begin = performance.now();
  }

  async stepDone(metrics: StepMetrics): Promise<void> {
    await this.#log.append(metrics);
    this.#options.onStep?.(metrics, this.#plan!.totalSteps);
  }

  async stepSkipped(skipped: SkippedStep): Promise<void> {
    await this.#log.append(skipped);
    this.#options.onSkip?.(skipped);
  }

  async validated(metrics: ValidationMetrics): Promise<void> {
    await this.#log.append(metrics);
    this.#options.onValidation?.(metrics);
  }

  async save(
    step: number,
    optimizer: AdamW,
    shards: Shards | null,
    toWrite: StateWriter,
    keepAll: boolean,
  ): Promise<void> {
    const checkpoint = { step, fingerprint: this.#fingerprint, seconds: this.#seconds() };
    const keep = keepAll ? Number.POSITIVE_INFINITY : this.#config.keepLast;
    await saveCheckpoint(this.checkpoints, checkpoint, optimizer.state(), keep, shards?.communicator, toWrite);
  }

  async finished({ model, files }: LoadedModel, shards: Shards | null): Promise<void> {
    const { output, method } = this.#config;
    const seconds = this.#seconds();
    if (method === 'lora') await exportAdapter(output, model, files, this.#config);
    else await exportModel(output, model, files, { shards });
    const plan = this.#plan!;
    const last = (await readMetrics(this.#log.file)).at(-1);
    this.result = {
      output,
      steps: plan.totalSteps,
      trainedTokens: await plan.trainedTokens(),
      seconds,
      finalLoss: last?.loss ?? Number.NaN,
      validationLoss: (await readValidation(this.#log.file)).at(-1)?.validationLoss ?? null,
    };
    const summary = {
      fingerprint: this.#fingerprint,
      result: this.result,
      dataset: this.#dataset.report,
      validationRows: this.#before.validationRows,
      packing: { packs: plan.packing.count, efficiency: plan.packing.efficiency },
      trainableParameters: this.#trainableParameters,
      settings: this.#config,
    };
    const path = join(output, resultFile);
    await writeFile(`${path}.tmp`, `${JSON.stringify(summary, null, 2)}\n`);
    await rename(`${path}.tmp`, path);
    await rm(this.checkpoints, { recursive: true, force: true });
  }

  #seconds(): number {
    return (this.checkpoint?.seconds ?? 0) + (performance.now() - this.#begin) / 1000;
  }
}
