import type { BlockHolder } from './block_manager.js';
import type { OutputText } from './output_text.js';
import type { SamplingParams } from './sampling_params.js';
import { type Seed, sampleSeed } from './seeds.js';

export type FinishReason = 'stop' | 'length' | 'aborted' | 'error';

/**
 * - `new`: a sample whose prompt another sample of the request is still computing;
 * - `waiting`: in the scheduler's queue, holding no block (never run yet, or preempted);
 * - `running`: holding blocks;
 * - `finished`: holding nothing, `finishReason` set.
 */
export type SequenceStatus = 'new' | 'waiting' | 'running' | 'finished';

/** A generated token with its log-probability, and those of the most probable tokens. */
export interface TokenLogprob {
  readonly token: number;
  readonly logprob: number;
  readonly top?: readonly { readonly token: number; readonly logprob: number }[];
}

/** What a Request is made of. */
export interface RequestOptions {
  readonly id: string;
  readonly prompt: ArrayLike<number>;
  readonly sampling: SamplingParams;
  /** Most tokens of prompt and output together. */
  readonly maxLength: number;
  readonly engineSeed?: number;
  readonly salt?: string;
}

/** One prompt and its `n` samples. */
export class Request {
  readonly id: string;
  readonly sampling: SamplingParams;
  readonly promptLength: number;
  readonly sequences: readonly Sequence[];
  /** Place in the order of arrival; the scheduler sets it. */
  arrival = -1;
  /** By prompt position, the first one NaN; null unless asked for. */
  readonly promptLogprobs: Float32Array | null;

  constructor(options: RequestOptions) {
    const { id, prompt, sampling, maxLength, engineSeed = 0, salt = '' } = options;
    this.id = id;
    this.sampling = sampling;
    this.promptLength = prompt.length;
    this.promptLogprobs = sampling.promptLogprobs ? new Float32Array(prompt.length).fill(Number.NaN) : null;
    const most = Math.min(maxLength, prompt.length + (sampling.maxTokens ?? maxLength));
    this.sequences = Array.from({ length: sampling.n }, (_, index) => {
      const seed = sampleSeed(engineSeed, id, sampling.seed, index);
      return new Sequence(this, index, prompt, most, seed, salt);
    });
  }
}

/** One sample of a request: its tokens so far, the blocks that hold their keys and values, and how it ended. */
export class Sequence implements BlockHolder {
  readonly request: Request;
  readonly index: number;
  readonly seed: Seed;
  readonly maxLength: number;
  readonly usesPrefixCache: boolean;
  tokens: Int32Array;
  length: number;
  /** Tokens that steps in progress sample: they come next, and a step may be made for them before they are known. */
  expected = 0;
  /** Which of the tokens that its last step samples is the sequence's. */
  sampledRow = -1;
  computed = 0;
  readonly blocks: number[] = [];
  readonly hashes: string[] = [];
  published = 0;
  shareable = Number.POSITIVE_INFINITY;
  salt: string;
  status: SequenceStatus = 'new';
  finishReason: FinishReason | null = null;
  error: string | null = null;
  readonly logprobs: TokenLogprob[] | null;
  /** The text so far; null where nothing needs it before the end. */
  text: OutputText | null = null;
  /** True when the last token is an end-of-sequence or stop token. */
  endedByToken = false;

  constructor(request: Request, index: number, prompt: ArrayLike<number>, maxLength: number, seed: Seed, salt: string) {
    this.request = request;
    this.index = index;
    this.seed = seed;
    this.salt = salt;
    this.maxLength = maxLength;
    this.usesPrefixCache = !request.sampling.promptLogprobs;
    this.tokens = new Int32Array(Math.min(maxLength, prompt.length + 64));
    this.tokens.set(prompt);
    this.length = prompt.length;
    this.logprobs = request.sampling.logprobs === null ? null : [];
  }

  get promptLength(): number {
    return this.request.promptLength;
  }

  get outputLength(): number {
    return this.length - this.request.promptLength;
  }

  /** Known tokens and expected ones. */
  get end(): number {
    return this.length + this.expected;
  }

  /** Tokens that no step has computed the keys and values of, or is about to. */
  get pending(): number {
    return this.end - this.computed;
  }

  append(token: number): void {
    if (this.length === this.tokens.length) {
      const grown = new Int32Array(Math.min(this.maxLength, this.length * 2));
      grown.set(this.tokens);
      this.tokens = grown;
    }
    this.tokens[this.length++] = token;
  }

  output(): number[] {
    return Array.from(this.tokens.subarray(this.promptLength, this.length));
  }

  /** True when this sequence is to be served before `other`: earlier request, then lower sample. */
  precedes(other: Sequence): boolean {
    return this.request.arrival === other.request.arrival
      ? this.index < other.index
      : this.request.arrival < other.request.arrival;
  }
}
