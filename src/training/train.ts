// A training run from settings to files: `train()`.

import { createHash } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { meshSize, rankThreads } from '../distributed/mesh_shape.js';
import type { ProcessGroup } from '../distributed/process_group.js';
import { expectSameWeights } from '../distributed/same_weights.js';
import { localRanks } from '../distributed/with_processes.js';
import { UserError } from '../errors.js';
import { describeWeights, quantisationOf } from '../nn/quantisation.js';
import { type ModelFiles, resolveModel } from '../weights/model_files.js';
import { adapterTokens, readAdapterSettings, weightsFile } from './adapter_files.js';
import { type Checkpoint, checkpointFolder, latestCheckpoint } from './checkpoint.js';
import type { TrainConfig } from './config.js';
import { trainDataParallel } from './data_parallel.js';
import { type Dataset, type DatasetReport, loadDataset, type TokeniseProgress } from './dataset.js';
import { freeMemory } from './free_memory.js';
import { expectMemory, type MemoryPlan, planMemory } from './memory_plan.js';
import type { SkippedStep, StepMetrics, ValidationMetrics } from './metrics.js';
import { loadObjective } from './objectives/load.js';
import type { LoadedObjective } from './objectives/objective.js';
import { finishedRun, Run } from './run.js';
import { DivergenceError } from './trainer.js';
import { measurePeak } from './utilisation.js';
import { splitDocuments } from './validation.js';

/** What is known before the first step. */
export interface TrainStart {
  readonly dataset: DatasetReport;
  /** Documents held out of training. */
  readonly validationRows: number;
  readonly totalSteps: number;
  /** Steps that a checkpoint had done. */
  readonly resumedStep: number;
  readonly packs: number;
  /** Tokens over the room in all packs, 0 … 1. */
  readonly packingEfficiency: number;
  readonly trainableParameters: number;
  /** `bf16`; of a quantised model also how it is stored. */
  readonly weights: string;
  /** Estimated; {@link availableMemory} is what there was before. */
  readonly memory: MemoryPlan;
  /** Bytes. */
  readonly availableMemory: number;
}

export interface TrainOptions {
  /** Aborting saves a checkpoint after the step in progress, then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly onTokenise?: ((progress: TokeniseProgress) => void) | undefined;
  readonly onStart?: ((start: TrainStart) => void) | undefined;
  readonly onStep?: ((metrics: StepMetrics, totalSteps: number) => void) | undefined;
  readonly onSkip?: ((skipped: SkippedStep) => void) | undefined;
  readonly onValidation?: ((metrics: ValidationMetrics) => void) | undefined;
  /** The processes that train together, each with its share of the ranks. The first one writes. Default: this one alone. */
  readonly processes?: ProcessGroup | null;
}

export interface TrainResult {
  /** The folder with the weights. */
  readonly output: string;
  readonly steps: number;
  /** Trained tokens over the whole run, every epoch counted. */
  readonly trainedTokens: number;
  /** Wall-clock seconds of the steps, those before a resumption included. */
  readonly seconds: number;
  /** Of the last step. */
  readonly finalLoss: number;
  /** After the last step, on the rows held out; null if there are none. */
  readonly validationLoss: number | null;
}

/**
 * Trains `config.model` on `config.data` and writes to `config.output`: a PEFT adapter or a whole model, metrics.jsonl, and
 * training.json with the settings and what came of them. A checkpoint there is continued from, exactly; a finished run of
 * the same settings, model and data is not repeated (unless `resume` is false).
 *
 * @throws {UserError} one line with the remedy: bad data, a model without tokenizer or chat template, a checkpoint of another
 *   run, a full disk, a loss that is not finite (the last good state is then kept as a checkpoint)
 */
export async function train(settings: TrainConfig, options: TrainOptions = {}): Promise<TrainResult> {
  const { signal } = options;
  signal?.throwIfAborted();
  const { config, adapter } = await startingAdapter(settings);
  const objective = await loadObjective(config.objective, config.objectiveOptions);
  const files = await resolveModel(config.model, config);
  files.weights.close();
  expectTrainable(config, files);
  const dataset = await loadConversations(config, files, objective, options);
  try {
    return await trainOn(dataset, { config, files, objective, adapter }, options);
  } finally {
    dataset.close();
  }
}

/** @throws {UserError} where weights that are stored quantised would be trained or cut. */
function expectTrainable({ method, fullyShard, model }: TrainConfig, { config }: ModelFiles): void {
  const form = quantisationOf(config)?.form;
  if (form === undefined) return;
  if (method === 'full')
    throw new UserError(
      `${model}: its weights are stored in ${form}, which cannot be trained; set 'method: lora', or name the model in bf16`,
    );
  if (fullyShard)
    throw new UserError(
      `${model}: its weights are stored in ${form}, of which every rank needs all; leave 'fullyShard' out`,
    );
}

interface Subject {
  readonly config: TrainConfig;
  readonly files: ModelFiles;
  readonly objective: LoadedObjective;
  /** The fingerprint of the adapter that training goes on from. */
  readonly adapter: string | null;
}

async function trainOn(dataset: Dataset, subject: Subject, options: TrainOptions): Promise<TrainResult> {
  const { config, files } = subject;
  const { signal, processes = null } = options;
  const leads = processes === null || processes.rank === 0;
  const { training, validation } = await splitDocuments(dataset.documents, config.validationSplit, config.seed);
  const fingerprint = runFingerprint(subject, dataset);
  await expectOneRun(processes, fingerprint);
  const finished = leads && config.resume ? await finishedRun(config.output, fingerprint) : null;
  const known = await ofTheFirst(processes, finished);
  if (known) return known;
  if (processes !== null) {
    const adapter = config.adapter === undefined ? [] : [join(config.adapter, weightsFile)];
    await expectSameWeights(processes, [...files.weightPaths, ...adapter]);
  }
  const tokens = Math.min(config.sequenceLength * config.microBatch, dataset.report.tokens);
  const memory = planMemory(files.config, config, tokens, subject.objective);
  // Of all ranks together, as the plan is; a process knows its own machine, and takes the others' for such.
  const machines = processes?.size ?? 1;
  const available = machines * (await freeMemory(config.device, localRanks(config.mesh, processes).count));
  expectMemory(memory, config, available);
  const weights = describeWeights(config.dtype, quantisationOf(files.config)?.form);
  const before = { validationRows: validation.count, weights, memory, availableMemory: available };
  const run = leads ? await Run.open(config, dataset, before, fingerprint, options) : null;
  const threads = config.threads ?? availableParallelism();
  const peak = await measurePeak(config.device, threads, config.dtype);
  const setup = {
    config,
    documents: training.selection,
    validation: validation.selection,
    ranks: meshSize(config.mesh),
    threads: rankThreads(threads, localRanks(config.mesh, processes).count),
    checkpoint: await commonCheckpoint(processes, run?.checkpoint ?? null, config.output),
    peakFlops: peak && peak * (processes?.size ?? 1),
  };
  try {
    const isFinished = await trainDataParallel(setup, run, processes);
    const result = await ofTheFirst(processes, run?.result ?? null);
    if (isFinished && result) return result;
  } catch (error) {
    if (!(error instanceof DivergenceError)) throw fullDisk(error, config.output) ?? error;
    const kept = await latestCheckpoint(checkpointFolder(config.output));
    throw new DivergenceError(
      `${error.message}${kept ? `; the state after step ${kept.step} is kept in ${kept.path}` : ''}`,
    );
  }
  signal?.throwIfAborted();
  throw processes
    ? new StoppedByFirst('Stopped with the first process')
    : new Error('Expected the run to be finished or aborted');
}

/** In a process other than the first: that one was told to stop, and has kept a checkpoint. */
export class StoppedByFirst extends UserError {}

/** What the first process has to say; its own value where there is one process. */
async function ofTheFirst<T>(processes: ProcessGroup | null, value: T): Promise<T> {
  return processes === null ? value : (await processes.gather(value))[0]!;
}

async function expectOneRun(processes: ProcessGroup | null, fingerprint: string): Promise<void> {
  const all = (await processes?.gather(fingerprint)) ?? [fingerprint];
  const other = all.findIndex((one) => one !== all[0]);
  if (other < 0) return;
  throw new UserError(
    `Expected the same settings, model and data in every process but those of process ${other} are not those of process 0; start all from the same files`,
  );
}

/** The checkpoint that the first process goes on from, as this one sees it. */
async function commonCheckpoint(
  processes: ProcessGroup | null,
  own: Checkpoint | null,
  output: string,
): Promise<Checkpoint | null> {
  const step = await ofTheFirst(processes, own?.step ?? 0);
  const seen = processes?.rank ? await latestCheckpoint(checkpointFolder(output)) : own;
  if ((seen?.step ?? 0) === step) return seen;
  throw new UserError(
    `${output}: Expected the checkpoint of step ${step} that process 0 goes on from but process ${processes!.rank} sees ${seen ? `that of step ${seen.step}` : 'none'}; 'output' must lie on a file system that all processes share`,
  );
}

/** What an error of the file system that means lack of room comes to; null for any other. */
function fullDisk(error: unknown, output: string): UserError | null {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT' && code !== 'EFBIG') return null;
  return new UserError(
    `${output}: cannot be written (${code}); free space on the disk, and the same command goes on from the last checkpoint`,
  );
}

/** The settings with those of the adapter that training goes on from, and its fingerprint. */
async function startingAdapter(config: TrainConfig): Promise<{ config: TrainConfig; adapter: string | null }> {
  if (config.adapter === undefined) return { config, adapter: null };
  if (resolve(config.adapter) === resolve(config.output)) {
    throw new UserError(
      `${config.output}: Expected an 'output' other than the folder of 'adapter', which training would replace; choose another`,
    );
  }
  const { settings, fingerprint } = await readAdapterSettings(config.adapter);
  const addedTokens = config.addedTokens.length > 0 ? config.addedTokens : await adapterTokens(config.adapter);
  return { config: { ...config, addedTokens, lora: { ...config.lora, ...settings } }, adapter: fingerprint };
}

function loadConversations(
  config: TrainConfig,
  files: ModelFiles,
  { checkRow }: LoadedObjective,
  { signal, onTokenise }: TrainOptions,
): Promise<Dataset> {
  const { tokenizer, chatTemplate: template } = files;
  if (tokenizer === null || template === null) {
    const missing = tokenizer === null ? 'tokenizer.json' : 'chat_template.jinja';
    throw new UserError(
      `${files.path}: Expected a model with tokenizer and chat template but there is no ${missing}; ${tokenizer === null ? 'put one into the folder' : "set 'chatTemplate', or put one into the folder"}`,
    );
  }
  const context = Number(files.config.max_position_embeddings ?? Number.POSITIVE_INFINITY);
  const maxTokens = Math.min(config.sequenceLength, context);
  const keepData = config.objective !== 'cross-entropy';
  const { data, overlong, tokenisedFolder: folder, threads } = config;
  const limits = { format: config.dataFormat, maxTokens, overlong, keepData, checkRow };
  return loadDataset(data, { model: files, ...limits, folder, threads, signal, onProgress: onTokenise });
}

/** Of everything that decides the weights; how and where the run runs does not. */
function runFingerprint({ config, files, objective, adapter }: Subject, dataset: Dataset): string {
  const {
    model: _m,
    data: _d,
    output: _o,
    threads: _t,
    checkpointEvery: _c,
    keepLast: _k,
    validateEvery: _e,
    resume: _r,
    adapter: _l,
    objective: _b,
    tokenisedFolder: _f,
    ...rest
  } = config;
  const { device: _v, mesh: _p, fullyShard: _s, activationCheckpointing: _a, ...settings } = rest;
  return createHash('sha256')
    .update(
      JSON.stringify({
        ...{ settings, objective: objective.fingerprint, adapter },
        ...{ model: files.fingerprint, dataset: dataset.fingerprint },
      }),
    )
    .digest('hex');
}
