import { dtypeSize } from '../tensor/dtype.js';
import { ArgumentError } from './errors.js';

/** The sizes of a model that its KV cache depends on. */
export interface KvShape {
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
}

/** What a KV cache may hold; see {@link KvPlanOptions.kvCacheDtype}. */
export const kvCacheDtypes = ['auto', 'fp8'] as const;
export type KvCacheDtype = (typeof kvCacheDtypes)[number];

export interface KvPlanOptions {
  /**
   * How keys and values are stored: `auto`, in the model's dtype; `fp8` (e4m3, no scales), in a half of bf16's bytes, rounded to 4
   * significant bits and at most ±448. Default `auto`.
   */
  readonly kvCacheDtype?: KvCacheDtype;
  /** Tokens per block. Default 16. */
  readonly blockSize?: number;
  /** Bytes for keys and values. Takes precedence over `kvCacheFraction`. */
  readonly kvCacheBytes?: number;
  /**
   * Share of the memory that is free at start beside what activations take, in (0, 1]. Default: 0.9 on a GPU, elsewhere 0.25 and at
   * most 2 GiB, since there the memory is everybody's.
   */
  readonly kvCacheFraction?: number;
  /** Most tokens of prompt and output together. Default: the model's context, or less where the cache cannot hold it. */
  readonly maxModelLen?: number;
}

export interface KvPlan {
  readonly dtype: 'f32' | 'bf16' | 'fp8';
  readonly blocks: number;
  readonly blockSize: number;
  readonly bytes: number;
  readonly bytesPerToken: number;
  readonly maxModelLen: number;
  /** One sentence: how large, why, and what it holds. */
  readonly report: string;
}

const GIB = 2 ** 30;

/** What the cache gets where the options do not say. */
export interface KvShare {
  readonly fraction: number;
  readonly mostBytes: number;
}

/** Of memory that the process shares with others. */
export const HOST_SHARE: KvShare = { fraction: 0.25, mostBytes: 2 * GIB };
/** Of a GPU's; as vLLM's gpu_memory_utilization. */
export const GPU_SHARE: KvShare = { fraction: 0.9, mostBytes: Infinity };

/**
 * Sizes the KV cache: what the options say, but never more than `maxNumSeqs` full contexts need.
 *
 * @param modelDtype of keys and values where the options name no other.
 * @param freeBytes memory that the process may still take, and that it does not need for activations.
 * @throws ArgumentError when a given `maxModelLen` does not fit, naming what would, and when there is less memory than was asked for.
 */
export function planKvCache(
  shape: KvShape,
  modelDtype: 'f32' | 'bf16',
  maxNumSeqs: number,
  freeBytes: number,
  options: KvPlanOptions = {},
  share: KvShare = HOST_SHARE,
): KvPlan {
  const { kvCacheDtype = 'auto', blockSize = 16, kvCacheBytes, kvCacheFraction, maxModelLen } = options;
  if (!kvCacheDtypes.includes(kvCacheDtype))
    throw new ArgumentError('kvCacheDtype', kvCacheDtypes.map((name) => `'${name}'`).join(' or '), kvCacheDtype);
  const dtype = kvCacheDtype === 'auto' ? modelDtype : kvCacheDtype;
  integer('blockSize', blockSize, 1);
  const context = shape.maxPositionEmbeddings;
  if (maxModelLen !== undefined) {
    integer('maxModelLen', maxModelLen, 2);
    if (maxModelLen > context) {
      throw new ArgumentError('maxModelLen', `at most the model's context (${context})`, maxModelLen);
    }
  }
  const bytesPerToken = 2 * shape.numLayers * shape.numKvHeads * shape.headDim * dtypeSize[dtype];
  const bytesPerBlock = bytesPerToken * blockSize;
  const [budget, source] = memoryBudget(kvCacheBytes, kvCacheFraction, freeBytes, share);

  const useful = maxNumSeqs * Math.ceil((maxModelLen ?? context) / blockSize);
  const affordable = Math.floor(budget / bytesPerBlock);
  const blocks = Math.min(affordable, useful);
  if (blocks * blockSize < Math.min(context, maxModelLen ?? 2)) {
    const needed = Math.ceil((maxModelLen ?? 2) / blockSize) * bytesPerBlock;
    throw new ArgumentError(
      kvCacheBytes === undefined ? 'kvCacheFraction' : 'kvCacheBytes',
      `enough for one sequence of ${maxModelLen ?? 2} tokens (${formatBytes(needed)})`,
      kvCacheBytes ?? kvCacheFraction ?? share.fraction,
      `, which is ${formatBytes(budget)}; give more or lower 'maxModelLen'`,
    );
  }
  if (blocks * bytesPerBlock > freeBytes) {
    throw new ArgumentError(
      'kvCacheBytes',
      `at most the memory that is free (${formatBytes(freeBytes)})`,
      kvCacheBytes,
      `, which is ${formatBytes(kvCacheBytes!)}`,
    );
  }
  const length = Math.min(context, maxModelLen ?? context, blocks * blockSize);
  const limit = affordable < useful ? source : `all that ${maxNumSeqs} sequences can use`;
  const shortened = length < Math.min(context, maxModelLen ?? context) ? ` of the model's ${context}` : '';
  return {
    dtype,
    blocks,
    blockSize,
    bytes: blocks * bytesPerBlock,
    bytesPerToken,
    maxModelLen: length,
    report:
      `KV cache ${dtype === modelDtype ? '' : `in ${dtype} `}${formatBytes(blocks * bytesPerBlock)} (${limit}): ${blocks * blockSize} tokens in ${blocks} blocks of ${blockSize}; ` +
      `context ${length} tokens${shortened}`,
  };
}

export function formatBytes(bytes: number): string {
  for (const [unit, size] of [
    ['GiB', GIB],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes >= size) return `${(bytes / size).toFixed(bytes >= 10 * size ? 0 : 1)} ${unit}`;
  }
  return `${bytes} B`;
}

function memoryBudget(
  bytes: number | undefined,
  fraction: number | undefined,
  free: number,
  { fraction: defaultFraction, mostBytes }: KvShare,
): [number, string] {
  if (bytes !== undefined) {
    if (!(bytes > 0 && Number.isFinite(bytes))) throw new ArgumentError('kvCacheBytes', 'over 0', bytes);
    return [bytes, 'as asked for'];
  }
  if (fraction !== undefined) {
    if (!(fraction > 0 && fraction <= 1)) throw new ArgumentError('kvCacheFraction', 'over 0 and at most 1', fraction);
    return [fraction * free, `${percent(fraction)} of ${formatBytes(free)} free`];
  }
  const share = defaultFraction * free;
  return share > mostBytes
    ? [mostBytes, `the default's most`]
    : [share, `by default ${percent(defaultFraction)} of ${formatBytes(free)} free`];
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}

function integer(name: string, value: number, least: number): void {
  if (!Number.isSafeInteger(value) || value < least) {
    throw new ArgumentError(name, `an integer of at least ${least}`, value);
  }
}
