import type { SampledRow } from './scheduler.js';

const FLOATS = 8;
const INTS = 4;

/** Sampling parameters of R rows as the `sample` op wants them. The arrays are views of buffers that the next `pack` overwrites. */
export interface SamplingInputs {
  /** [R, 8] temperature, topP, minP, presence, frequency and repetition penalty, 0, 0. */
  readonly floats: Float32Array;
  /** [R, 4] topK, seed (low, high), index of the output token. */
  readonly ints: Int32Array;
  /** Prompt and output tokens of the rows that have a penalty; −(i+1): token i of those that the step before samples. */
  readonly history: Int32Array;
  /** [2R+1] Row r: prompt tokens [o[2r], o[2r+1]), output tokens [o[2r+1], o[2r+2]). */
  readonly historyOffsets: Int32Array;
  /** Null when no row has a bias. */
  readonly bias: { readonly tokens: Int32Array; readonly values: Float32Array; readonly offsets: Int32Array } | null;
  /** [R, ceil(V/32)] one bit per allowed token; null when every row allows all. */
  readonly allowedMask: Int32Array | null;
  /** True when a row wants log-probabilities. */
  readonly wantsLogprobs: boolean;
  /** L, the most `top` log-probabilities that a row wants. */
  readonly topCount: number;
}

/** Packs sampling parameters into arrays that it grows as needed and uses again. */
export class SamplingPacker {
  private readonly vocabSize: number;
  private readonly eosTokenIds: readonly number[];
  private readonly floats: Float32Array;
  private readonly ints: Int32Array;
  private readonly historyOffsets: Int32Array;
  private readonly biasOffsets: Int32Array;
  private history = new Int32Array(0);
  private biasTokens = new Int32Array(0);
  private biasValues = new Float32Array(0);
  private mask = new Int32Array(0);

  constructor(maxNumSeqs: number, vocabSize: number, eosTokenIds: readonly number[]) {
    this.vocabSize = vocabSize;
    this.eosTokenIds = eosTokenIds;
    this.floats = new Float32Array(maxNumSeqs * FLOATS);
    this.ints = new Int32Array(maxNumSeqs * INTS);
    this.historyOffsets = new Int32Array(2 * maxNumSeqs + 1);
    this.biasOffsets = new Int32Array(maxNumSeqs + 1);
  }

  pack(rows: readonly SampledRow[]): SamplingInputs {
    let wantsLogprobs = false;
    let topCount = 0;
    rows.forEach(({ sequence, position }, r) => {
      const { sampling } = sequence.request;
      this.floats[r * FLOATS] = sampling.temperature;
      this.floats[r * FLOATS + 1] = sampling.topP;
      this.floats[r * FLOATS + 2] = sampling.minP;
      this.floats[r * FLOATS + 3] = sampling.presencePenalty;
      this.floats[r * FLOATS + 4] = sampling.frequencyPenalty;
      this.floats[r * FLOATS + 5] = sampling.repetitionPenalty;
      this.ints[r * INTS] = Math.min(Math.max(sampling.topK, 0), this.vocabSize);
      this.ints[r * INTS + 1] = sequence.seed[0];
      this.ints[r * INTS + 2] = sequence.seed[1];
      this.ints[r * INTS + 3] = position - sequence.promptLength;
      if (sampling.logprobs !== null) {
        wantsLogprobs = true;
        topCount = Math.max(topCount, sampling.logprobs);
      }
    });
    const used = this.packHistory(rows);
    return {
      floats: this.floats.subarray(0, rows.length * FLOATS),
      ints: this.ints.subarray(0, rows.length * INTS),
      history: this.history.subarray(0, used),
      historyOffsets: this.historyOffsets.subarray(0, 2 * rows.length + 1),
      bias: this.packBias(rows),
      allowedMask: this.packMask(rows),
      wantsLogprobs,
      topCount,
    };
  }

  private packHistory(rows: readonly SampledRow[]): number {
    let at = 0;
    rows.forEach(({ sequence, position, lastSampled }, r) => {
      const { repetitionPenalty, presencePenalty, frequencyPenalty } = sequence.request.sampling;
      const ofPrompt = repetitionPenalty !== 1;
      const ofOutput = ofPrompt || presencePenalty !== 0 || frequencyPenalty !== 0;
      const from = ofPrompt ? 0 : sequence.promptLength;
      const to = ofOutput ? position : from;
      if (at + to - from > this.history.length) this.history = grow(this.history, Int32Array, at + to - from);
      this.history.set(sequence.tokens.subarray(from, Math.min(to, sequence.length)), at);
      if (to > sequence.length) this.history[at + to - from - 1] = -1 - lastSampled;
      this.historyOffsets[2 * r + 1] = at + (ofPrompt ? sequence.promptLength : 0);
      at += to - from;
      this.historyOffsets[2 * r + 2] = at;
    });
    return at;
  }

  private packBias(rows: readonly SampledRow[]): SamplingInputs['bias'] {
    let at = 0;
    rows.forEach((row, r) => {
      const bias = Object.entries(row.sequence.request.sampling.logitBias);
      const forbidden = this.forbiddenTokens(row);
      const needed = at + bias.length + forbidden.length;
      if (needed > this.biasTokens.length) {
        this.biasTokens = grow(this.biasTokens, Int32Array, needed);
        this.biasValues = grow(this.biasValues, Float32Array, needed);
      }
      for (const [token, value] of bias) {
        this.biasTokens[at] = Number(token);
        this.biasValues[at++] = value;
      }
      for (const token of forbidden) {
        this.biasTokens[at] = token;
        this.biasValues[at++] = Number.NEGATIVE_INFINITY;
      }
      this.biasOffsets[r + 1] = at;
    });
    if (at === 0) return null;
    return {
      tokens: this.biasTokens.subarray(0, at),
      values: this.biasValues.subarray(0, at),
      offsets: this.biasOffsets.subarray(0, rows.length + 1),
    };
  }

  /** What would end the text must not be sampled before `minTokens`. */
  private forbiddenTokens({ sequence, position }: SampledRow): readonly number[] {
    const { minTokens, ignoreEos, stopTokenIds } = sequence.request.sampling;
    if (position - sequence.promptLength >= minTokens) return [];
    return ignoreEos ? stopTokenIds : [...stopTokenIds, ...this.eosTokenIds];
  }

  private packMask(rows: readonly SampledRow[]): Int32Array | null {
    if (rows.every(({ sequence }) => sequence.request.sampling.allowedTokenIds === null)) return null;
    const words = Math.ceil(this.vocabSize / 32);
    if (rows.length * words > this.mask.length) this.mask = new Int32Array(rows.length * words);
    rows.forEach(({ sequence }, r) => {
      const row = this.mask.subarray(r * words, (r + 1) * words);
      const allowed = sequence.request.sampling.allowedTokenIds;
      row.fill(allowed === null ? -1 : 0);
      for (const token of allowed ?? []) row[token >> 5]! |= 1 << (token & 31);
    });
    return this.mask.subarray(0, rows.length * words);
  }
}

function grow<A extends Int32Array | Float32Array>(array: A, type: new (length: number) => A, least: number): A {
  const grown = new type(Math.max(least, 2 * array.length));
  grown.set(array);
  return grown;
}
