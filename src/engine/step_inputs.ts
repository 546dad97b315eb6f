import type { Batch, SchedulerConfig } from './scheduler.js';

/**
 * A batch as the forward pass wants it. T tokens packed, B sequences (chunks), R rows that are sampled. The arrays are views of buffers that
 * the next `pack` overwrites.
 */
export interface StepInputs {
  /** −(i+1): token i of those that the step before samples. */
  readonly tokens_T: Int32Array;
  readonly positions_T: Int32Array;
  /** Where in the cache a token's key and value go: block · blockSize + offset. */
  readonly slots_T: Int32Array;
  /** [B+1] Where each sequence's query tokens start. */
  readonly cuSeqlens: Int32Array;
  /** [B] Keys that the last query token of a sequence sees, itself included. */
  readonly contextLengths_B: Int32Array;
  /** [B, maxBlocks], rows filled up with 0. */
  readonly blockTable: Int32Array;
  readonly maxBlocks: number;
  /** [R] Rows of the packed batch whose logits are sampled. */
  readonly rows_R: Int32Array;
}

/** Packs batches into arrays that it allocates once. */
export class StepPacker {
  private readonly blockSize: number;
  private readonly tokens: Int32Array;
  private readonly positions: Int32Array;
  private readonly slots: Int32Array;
  private readonly starts: Int32Array;
  private readonly contexts: Int32Array;
  private readonly rows: Int32Array;
  private table = new Int32Array(0);

  constructor(config: SchedulerConfig, blockSize: number) {
    this.blockSize = blockSize;
    this.tokens = new Int32Array(config.maxNumBatchedTokens);
    this.positions = new Int32Array(config.maxNumBatchedTokens);
    this.slots = new Int32Array(config.maxNumBatchedTokens);
    this.starts = new Int32Array(config.maxNumSeqs + 1);
    this.contexts = new Int32Array(config.maxNumSeqs);
    this.rows = new Int32Array(config.maxNumSeqs);
  }

  pack(batch: Batch): StepInputs {
    const { blockSize, tokens, positions, slots } = this;
    const sequences = batch.chunks.length;
    let maxBlocks = 1;
    for (const { start, count } of batch.chunks)
      maxBlocks = Math.max(maxBlocks, Math.ceil((start + count) / blockSize));
    if (this.table.length < sequences * maxBlocks) this.table = new Int32Array(2 * sequences * maxBlocks);

    let t = 0;
    for (let b = 0; b < sequences; b++) {
      const { sequence, start, count, lastSampled } = batch.chunks[b]!;
      const blocks = sequence.blocks;
      this.starts[b] = t;
      this.contexts[b] = start + count;
      for (let position = start; position < start + count; position++, t++) {
        tokens[t] = position < sequence.length ? sequence.tokens[position]! : -1 - lastSampled;
        positions[t] = position;
        slots[t] = blocks[Math.floor(position / blockSize)]! * blockSize + (position % blockSize);
      }
      const used = Math.ceil((start + count) / blockSize);
      for (let i = 0; i < maxBlocks; i++) this.table[b * maxBlocks + i] = i < used ? blocks[i]! : 0;
    }
    this.starts[sequences] = t;
    batch.sampled.forEach(({ row }, i) => {
      this.rows[i] = row;
    });

    return {
      tokens_T: tokens.subarray(0, t),
      positions_T: positions.subarray(0, t),
      slots_T: slots.subarray(0, t),
      cuSeqlens: this.starts.subarray(0, sequences + 1),
      contextLengths_B: this.contexts.subarray(0, sequences),
      blockTable: this.table.subarray(0, sequences * maxBlocks),
      maxBlocks,
      rows_R: this.rows.subarray(0, batch.sampled.length),
    };
  }
}
