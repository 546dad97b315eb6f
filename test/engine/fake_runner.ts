import { setTimeout } from 'node:timers/promises';
import type { Batch, SchedulerConfig } from '../../src/engine/scheduler.js';
import { StepPacker } from '../../src/engine/step_inputs.js';
import type { StepOutput, StepRunner } from '../../src/engine/step_runner.js';

export const FAKE_VOCABULARY = 50;

/** The next token as a function of everything before it: what a model is to the bookkeeping. */
export function nextToken(context: ArrayLike<number>, seed: readonly [number, number]): number {
  let state = (seed[0] ^ Math.imul(seed[1], 0x9e3779b1)) | 0;
  for (let i = 0; i < context.length; i++) state = Math.imul(state ^ context[i]!, 0x01000193) ^ (state >>> 15);
  return (state >>> 8) % FAKE_VOCABULARY;
}

/**
 * Stands for model and device: its "keys and values" are the tokens themselves, kept in the slots that the engine names and read back
 * through the block table. So a wrong slot, a stale or shared block, or a missing copy gives a wrong token.
 */
export class FakeRunner implements StepRunner {
  readonly cache: Int32Array;
  readonly blockSize: number;
  steps = 0;
  largestBatch = 0;
  disposed = false;
  /** Steps under way. */
  busy = 0;
  /** Tokens whose presence in a context makes a row's logits NaN. */
  readonly nanTokens = new Set<number>();
  /** Called before each step; may throw. */
  beforeStep: ((batch: Batch) => void) | null = null;
  private readonly packer: StepPacker;
  /** The tokens of the last step, as a device keeps them. */
  private sampled = new Int32Array(0);

  constructor(config: SchedulerConfig, blocks: number, blockSize: number) {
    this.cache = new Int32Array(blocks * blockSize).fill(-1);
    this.blockSize = blockSize;
    this.packer = new StepPacker(config, blockSize);
  }

  async forward(batch: Batch): Promise<StepOutput> {
    this.beforeStep?.(batch);
    const output = this.compute(batch);
    this.busy++;
    await setTimeout(1); // as a device would, it leaves the event loop to others
    this.busy--;
    return output;
  }

  compute(batch: Batch): StepOutput {
    const size = this.blockSize;
    this.steps++;
    this.largestBatch = Math.max(this.largestBatch, batch.tokens);
    for (const { from, to } of batch.copies) this.cache.copyWithin(to * size, from * size, (from + 1) * size);
    const inputs = this.packer.pack(batch);
    inputs.tokens_T.forEach((token, t) => {
      this.cache[inputs.slots_T[t]!] = token >= 0 ? token : Math.max(this.sampled[-1 - token]!, 0);
    });
    const tokens = new Int32Array(batch.sampled.length);
    batch.sampled.forEach(({ sequence, row }, r) => {
      const context = this.context(inputs, row);
      const known = sequence.tokens.subarray(0, sequence.length);
      // What is not known yet is what the step before has sampled.
      if (context.length > known.length + 1 || context.subarray(0, known.length).join() !== known.join()) {
        throw new Error(
          `the cache of ${sequence.request.id}.${sequence.index} holds [${context}] instead of [${known}]`,
        );
      }
      tokens[r] = context.some((token) => this.nanTokens.has(token)) ? -1 : nextToken(context, sequence.seed);
    });
    this.sampled = tokens;
    return { tokens, logprobs: null, topTokens: null, topLogprobs: null, topCount: 0 };
  }

  dispose(): void {
    this.disposed = true;
  }

  private context(inputs: ReturnType<StepPacker['pack']>, row: number): Int32Array {
    let b = 0;
    while (inputs.cuSeqlens[b + 1]! <= row) b++;
    if (inputs.cuSeqlens[b + 1] !== row + 1) throw new Error(`row ${row} is not the last of its sequence`);
    const length = inputs.contextLengths_B[b]!;
    if (inputs.positions_T[row] !== length - 1) throw new Error(`row ${row} has the wrong position`);
    const table = inputs.blockTable.subarray(b * inputs.maxBlocks, (b + 1) * inputs.maxBlocks);
    const context = new Int32Array(length);
    for (let p = 0; p < length; p++) {
      context[p] = this.cache[table[Math.floor(p / this.blockSize)]! * this.blockSize + (p % this.blockSize)]!;
    }
    return context;
  }
}

/** A small seeded generator for tests: integers below `bound`. */
export function seededIntegers(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}
