import { freemem } from 'node:os';
import { didYouMean } from '../errors.js';
import type { LoadedModel } from '../nn/load.js';
import { describeWeights, quantisedWeights } from '../nn/quantisation.js';
import type { Device } from '../tensor/device.js';
import { dtypeSize } from '../tensor/dtype.js';
import { Detokenizer } from '../text/detokenizer.js';
import { PromptEncoder, type PromptFiles } from '../text/prompt_encoder.js';
import { activationBytes } from './activations.js';
import { BlockManager } from './block_manager.js';
import { EngineLoop } from './engine_loop.js';
import { ArgumentError } from './errors.js';
import type { Followers } from './followers.js';
import { formatBytes, GPU_SHARE, HOST_SHARE, type KvPlanOptions, planKvCache } from './kv_plan.js';
import { ModelRunner } from './model_runner.js';
import { encodeRequest } from './prompt.js';
import { defaultCaptureSizes } from './recorded_decode.js';
import { Scheduler, type SchedulerConfig } from './scheduler.js';
import type { EngineStatistics } from './statistics.js';
import { TensorParallelRunner } from './tensor_parallel_runner.js';

export interface EngineOptions extends KvPlanOptions {
  /** Part of the free memory that is this engine's, in (0, 1], where others on the device start beside it. Default 1. */
  readonly memoryShare?: number;
  /** Most sequences that run at once. Default 128. */
  readonly maxNumSeqs?: number;
  /** Most tokens in one forward pass. Default 2048. */
  readonly maxNumBatchedTokens?: number;
  /** Most prompt tokens of one sequence in one forward pass. Default: maxNumBatchedTokens. */
  readonly maxPrefillChunk?: number;
  /** Default true. */
  readonly enablePrefixCaching?: boolean;
  /**
   * On a GPU too a request's results do not depend on what runs beside it, on budgets and chunks, the prefix cache and preemption. It costs
   * a little: generated tokens are not shared, and computed one by one again after preemption. Default: true on a GPU; on the CPU results
   * are so by nature, and the default is false.
   */
  readonly invariant?: boolean;
  /** Samples without a seed of their own follow from this one and the request's id. Default 0. */
  readonly seed?: number;
  /**
   * Schedules a step while the one before it runs; what ends a sequence by its content is then seen a step late. Results are the same.
   * Default true.
   */
  readonly asyncScheduling?: boolean;
  /** Records no decode steps. Default false. */
  readonly enforceEager?: boolean;
  /**
   * Batch sizes at which decode steps are recorded and replayed, as CUDA graphs on a GPU. A batch takes the next larger size; beyond the
   * largest it runs as others do. Results are the same. Default: on a GPU 1, 2, 4, 8, 16, … up to maxNumSeqs; on the CPU 1, since rows
   * that fill a batch up cost time there.
   */
  readonly cudagraphCaptureSizes?: readonly number[];
  /** Samples taken in or not yet taken out, per `generate` call, from which on its input is not read further. Default 4 · maxNumSeqs. */
  readonly lookAhead?: number;
}

/** What of a loaded model the engine needs. */
export type EngineModel = Pick<LoadedModel, 'model' | 'tokenizer' | 'chatTemplate'> & {
  readonly files?: Pick<LoadedModel['files'], 'name' | 'generationConfig'> & PromptFiles;
};

/** {@link EngineOptions.maxNumSeqs} where it is not given. */
export const DEFAULT_MAX_NUM_SEQS = 128;

const OPTIONS: readonly (keyof EngineOptions)[] = [
  'maxNumSeqs',
  'maxNumBatchedTokens',
  'maxPrefillChunk',
  'enablePrefixCaching',
  'invariant',
  'seed',
  'lookAhead',
  'asyncScheduling',
  'enforceEager',
  'cudagraphCaptureSizes',
  'kvCacheDtype',
  'blockSize',
  'kvCacheBytes',
  'kvCacheFraction',
  'maxModelLen',
  'memoryShare',
];

/** The inference engine. It borrows the model, which may be trained at the same time; its own is the KV cache. */
export class Engine extends EngineLoop {
  /**
   * Takes memory for keys and values and is ready.
   *
   * @param followers of a model that several ranks hold, of which `loaded` is the leading one's part: the others.
   *
   * @throws ArgumentError for a wrong option; Error when the memory is not there.
   */
  static create(loaded: EngineModel, options: EngineOptions = {}, followers: Followers | null = null): Engine {
    for (const name of Object.keys(options)) {
      if (!(OPTIONS as readonly string[]).includes(name)) {
        throw new ArgumentError(name, 'one of the options of the engine', name, didYouMean(name, OPTIONS));
      }
    }
    const { model, tokenizer } = loaded;
    const {
      maxNumSeqs = DEFAULT_MAX_NUM_SEQS,
      maxNumBatchedTokens = Math.max(2048, 2 * maxNumSeqs),
      enablePrefixCaching = true,
    } = options;
    const { maxPrefillChunk = maxNumBatchedTokens, seed = 0, lookAhead = 4 * maxNumSeqs } = options;
    const { asyncScheduling = true } = options;
    positive({ maxNumSeqs, maxNumBatchedTokens, maxPrefillChunk, lookAhead });
    if (!Number.isSafeInteger(seed)) throw new ArgumentError('seed', 'an integer', seed);
    if (maxNumBatchedTokens < maxNumSeqs) {
      throw new ArgumentError('maxNumBatchedTokens', `at least 'maxNumSeqs' (${maxNumSeqs})`, maxNumBatchedTokens);
    }
    const { invariant = model.device.statistics().accelerator !== null } = options;
    const config: SchedulerConfig = { maxNumSeqs, maxNumBatchedTokens, maxPrefillChunk, invariant };
    const activations = activationBytes(model, maxNumBatchedTokens, maxNumSeqs);
    const free = (options.memoryShare ?? 1) * availableMemory(model.device, model.group?.size ?? 1) - activations;
    const share = model.device.statistics().accelerator ? GPU_SHARE : HOST_SHARE;
    const shape = { ...model.config, numKvHeads: model.kvHeads };
    const plan = planKvCache(shape, model.dtype, maxNumSeqs, Math.max(free, 0), options, share);
    if (invariant) expectWholeBlocks(config, plan.blockSize);
    const eosTokenIds = endOfSequence(loaded);
    const blocks = new BlockManager(plan.blocks, plan.blockSize, enablePrefixCaching);
    const { vocabSize } = model.config;
    const encoder = new PromptEncoder(loaded, loaded.files);
    const sizes = captureSizes(model.device, maxNumSeqs, options);
    return new Engine({
      scheduler: new Scheduler(config, blocks),
      runner: followers
        ? new TensorParallelRunner(model, followers, config, plan, eosTokenIds, sizes)
        : new ModelRunner(model, config, plan, eosTokenIds, sizes),
      encode: (request) => encodeRequest(request, encoder, vocabSize),
      closeEncoder: () => encoder.close(),
      decoding: tokenizer && {
        createStream: () => new Detokenizer(tokenizer),
        decode: (tokens) => tokenizer.decode(tokens),
      },
      vocabSize,
      eosTokenIds,
      maxModelLen: plan.maxModelLen,
      seed,
      lookAhead,
      asyncScheduling,
      salt: () => `weights ${model.weightVersion}`,
      memory: () => deviceMemory(model.device, plan.bytes),
      startupReport: [
        `Engine on ${model.group ? `${model.group.size} × ` : ''}${model.device.name}: ${loaded.files?.name ?? 'model'} in ${describeWeights(model.dtype, quantisedWeights(model).values().next().value?.form)}, weights ${formatBytes(weightBytes(loaded))}${model.group ? ' on each' : ''}`,
        plan.report,
        `activations up to ${formatBytes(activations)}, ${formatBytes(Math.max(free - plan.bytes, 0))} stay free`,
        `up to ${maxNumSeqs} sequences and ${maxNumBatchedTokens} tokens per step; prefix cache ${enablePrefixCaching ? 'on' : 'off'}`,
      ].join('; '),
    });
  }
}

/** Chunks of whole blocks must fit beside what is decoded. */
function expectWholeBlocks(
  { maxNumSeqs, maxNumBatchedTokens, maxPrefillChunk }: SchedulerConfig,
  blockSize: number,
): void {
  if (blockSize < 2) throw new ArgumentError('blockSize', "at least 2 for 'invariant' results", blockSize);
  if (maxPrefillChunk < blockSize)
    throw new ArgumentError(
      'maxPrefillChunk',
      `at least 'blockSize' (${blockSize}) for 'invariant' results`,
      maxPrefillChunk,
    );
  const fewest = maxNumSeqs - 1 + blockSize;
  if (maxNumBatchedTokens < fewest)
    throw new ArgumentError(
      'maxNumBatchedTokens',
      `at least 'maxNumSeqs' - 1 + 'blockSize' (${fewest}) for 'invariant' results`,
      maxNumBatchedTokens,
    );
}

function positive(values: Record<string, number>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!Number.isSafeInteger(value) || value < 1) throw new ArgumentError(name, 'an integer of at least 1', value);
  }
}

/** Batch sizes to record, in rising order. */
function captureSizes(device: Device, maxNumSeqs: number, options: EngineOptions): number[] {
  const { enforceEager = false, cudagraphCaptureSizes: sizes } = options;
  for (const size of sizes ?? []) positive({ cudagraphCaptureSizes: size });
  if (enforceEager) return [];
  if (sizes !== undefined) return [...new Set(sizes)].filter((size) => size <= maxNumSeqs).sort((a, b) => a - b);
  return device.statistics().accelerator ? defaultCaptureSizes(maxNumSeqs) : [1];
}

/** Bytes that the device may still give: a GPU's, or a rank's share of those that the process may take, containers' limits included. */
function availableMemory(device: Device, ranks: number): number {
  const { accelerator, reservedBytes, liveBytes } = device.statistics();
  if (accelerator) return accelerator.freeBytes + reservedBytes - liveBytes;
  const { availableMemory } = process as { availableMemory?: () => number };
  return (availableMemory?.() ?? freemem()) / ranks;
}

function deviceMemory(device: Device, kvBytes: number): EngineStatistics['memory'] {
  if (!device.isOpen) return { kvBytes: 0, liveBytes: 0, peakBytes: 0, reservedBytes: 0, scratchBytes: 0 };
  const { liveBytes, peakBytes, reservedBytes, scratchBytes } = device.statistics();
  return { kvBytes, liveBytes, peakBytes, reservedBytes, scratchBytes };
}

/** Every token that config.json, generation_config.json or the tokenizer names as end of sequence. */
function endOfSequence({ model, tokenizer, files }: EngineModel): number[] {
  const named = files?.generationConfig.eos_token_id;
  const ids = [
    ...model.config.eosTokenIds,
    ...(tokenizer?.eosTokenIds ?? []),
    ...(Array.isArray(named) ? named : [named]),
  ];
  const { vocabSize } = model.config;
  return [...new Set(ids)].filter((id): id is number => Number.isInteger(id) && id >= 0 && id < vocabSize);
}

function weightBytes({ model }: EngineModel): number {
  let bytes = 0;
  for (const weight of model.weights.values()) bytes += weight.size * dtypeSize[weight.dtype];
  for (const weight of quantisedWeights(model).values()) bytes += weight.bytes;
  return bytes;
}
