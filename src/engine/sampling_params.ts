import { didYouMean } from '../errors.js';
import { ArgumentError } from './errors.js';

/** How to sample, by vLLM's names. Ids are token ids. */
export interface SamplingParams {
  /** Samples per prompt; each is a Completion of its own. Default 1. */
  readonly n: number;
  /** 0 is greedy (the lowest id wins ties). Default 1. */
  readonly temperature: number;
  /** Keeps the most probable tokens whose probabilities add up to topP, in (0, 1]. Default 1. */
  readonly topP: number;
  /** Keeps the k most probable tokens; 0 or −1 keeps all. Default 0. */
  readonly topK: number;
  /** Keeps tokens at least minP times as probable as the best one, in [0, 1]. Default 0. */
  readonly minP: number;
  /** Subtracted from the logit of every token that has been generated, in [−2, 2]. Default 0. */
  readonly presencePenalty: number;
  /** Subtracted once per generated occurrence, in [−2, 2]. Default 0. */
  readonly frequencyPenalty: number;
  /** Divides positive and multiplies negative logits of tokens in prompt or output; over 0. Default 1. */
  readonly repetitionPenalty: number;
  /** Makes the samples of this request a function of seed and sample index alone. Default null: derived from the engine's seed and the request's id. */
  readonly seed: number | null;
  /** Strings that end the text; they are not part of it. */
  readonly stop: readonly string[];
  /** Tokens that end the text, beside the model's end-of-sequence tokens. */
  readonly stopTokenIds: readonly number[];
  /** Most tokens to generate. Default null: to the end of the context. */
  readonly maxTokens: number | null;
  /** Tokens before which neither end of sequence nor stop applies. Default 0. */
  readonly minTokens: number;
  /** Goes on after the end-of-sequence token. Default false. */
  readonly ignoreEos: boolean;
  /** Log-probability of each generated token and of the `logprobs` most probable ones; null: none. Default null. */
  readonly logprobs: number | null;
  /** Log-probability of each prompt token given those before it. Bypasses the prefix cache. Default false. */
  readonly promptLogprobs: boolean;
  /** Added to the logits, by token id. */
  readonly logitBias: Readonly<Record<number, number>>;
  /** Only these tokens may be generated; null: all. */
  readonly allowedTokenIds: readonly number[] | null;
}

export const SAMPLING_DEFAULTS: SamplingParams = {
  n: 1,
  temperature: 1,
  topP: 1,
  topK: 0,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  seed: null,
  stop: [],
  stopTokenIds: [],
  maxTokens: null,
  minTokens: 0,
  ignoreEos: false,
  logprobs: null,
  promptLogprobs: false,
  logitBias: {},
  allowedTokenIds: null,
};

const NAMES = Object.keys(SAMPLING_DEFAULTS);

/**
 * Completes and checks sampling parameters. `undefined` means the default; `stop` may be one string.
 *
 * @param vocabSize when given, token ids are checked against it.
 * @throws ArgumentError naming the parameter (for an unknown one: the nearest name).
 */
export function samplingParams(input: Partial<SamplingParams> = {}, vocabSize = 2 ** 31): SamplingParams {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new ArgumentError('sampling', 'an object of sampling parameters', input);
  }
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(input)) {
    if (!NAMES.includes(name)) {
      throw new ArgumentError(name, 'one of the sampling parameters', name, didYouMean(name, NAMES));
    }
    if (value !== undefined) given[name] = value;
  }
  if (typeof given.stop === 'string') given.stop = [given.stop];
  const params = { ...SAMPLING_DEFAULTS, ...given } as SamplingParams;

  integer(params, 'n', 1);
  number(params, 'temperature', '0 or more', (x) => x >= 0);
  number(params, 'topP', 'over 0 and at most 1', (x) => x > 0 && x <= 1);
  integer(params, 'topK', -1);
  number(params, 'minP', 'from 0 to 1', (x) => x >= 0 && x <= 1);
  number(params, 'presencePenalty', 'from -2 to 2', (x) => Math.abs(x) <= 2);
  number(params, 'frequencyPenalty', 'from -2 to 2', (x) => Math.abs(x) <= 2);
  number(params, 'repetitionPenalty', 'over 0', (x) => x > 0);
  if (params.seed !== null && !Number.isSafeInteger(params.seed)) {
    throw new ArgumentError('seed', 'an integer or null', params.seed);
  }
  strings(params, 'stop');
  tokenIds('stopTokenIds', params.stopTokenIds, vocabSize);
  if (params.maxTokens !== null) integer(params, 'maxTokens', 1);
  integer(params, 'minTokens', 0);
  if (params.maxTokens !== null && params.minTokens > params.maxTokens) {
    throw new ArgumentError('minTokens', `at most 'maxTokens' (${params.maxTokens})`, params.minTokens);
  }
  boolean(params, 'ignoreEos');
  boolean(params, 'promptLogprobs');
  if (params.logprobs !== null) {
    integer(params, 'logprobs', 0);
    if (params.logprobs > vocabSize) {
      throw new ArgumentError('logprobs', `at most the vocabulary's size (${vocabSize})`, params.logprobs);
    }
  }
  logitBias(params.logitBias, vocabSize);
  if (params.allowedTokenIds !== null) {
    tokenIds('allowedTokenIds', params.allowedTokenIds, vocabSize);
    if (params.allowedTokenIds.length === 0) throw new ArgumentError('allowedTokenIds', 'at least one token id', []);
  }
  return params;
}

type NumberName = {
  [K in keyof SamplingParams]: SamplingParams[K] extends number | null ? K : never;
}[keyof SamplingParams];

function number(params: SamplingParams, name: NumberName, range: string, valid: (value: number) => boolean): void {
  const value: unknown = params[name];
  if (typeof value !== 'number' || !Number.isFinite(value) || !valid(value)) {
    throw new ArgumentError(name, `a number ${range}`, value);
  }
}

function integer(params: SamplingParams, name: NumberName, least: number): void {
  const value: unknown = params[name];
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw new ArgumentError(name, `an integer of at least ${least}`, value);
  }
}

function boolean(params: SamplingParams, name: 'ignoreEos' | 'promptLogprobs'): void {
  if (typeof params[name] !== 'boolean') throw new ArgumentError(name, 'true or false', params[name]);
}

function strings(params: SamplingParams, name: 'stop'): void {
  const value: unknown = params[name];
  if (!Array.isArray(value) || !value.every((text) => typeof text === 'string' && text.length > 0)) {
    throw new ArgumentError(name, 'a list of non-empty strings', value);
  }
}

function isTokenId(id: unknown, vocabSize: number): boolean {
  return Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < vocabSize;
}

function tokenIds(name: string, ids: unknown, vocabSize: number): void {
  const expected = `token ids from 0 to ${vocabSize - 1}`;
  if (!Array.isArray(ids)) throw new ArgumentError(name, `a list of ${expected}`, ids);
  for (const id of ids) if (!isTokenId(id, vocabSize)) throw new ArgumentError(name, expected, id);
}

function logitBias(bias: unknown, vocabSize: number): void {
  if (typeof bias !== 'object' || bias === null || Array.isArray(bias)) {
    throw new ArgumentError('logitBias', 'an object from token id to bias', bias);
  }
  for (const [id, value] of Object.entries(bias)) {
    if (!isTokenId(Number(id), vocabSize)) {
      throw new ArgumentError('logitBias', `keyed by token ids from 0 to ${vocabSize - 1}`, id);
    }
    if (typeof value !== 'number' || !(value < Infinity)) {
      throw new ArgumentError(`logitBias[${id}]`, 'a number or -Infinity', value);
    }
  }
}
