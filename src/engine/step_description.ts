import type { BlockCopy } from './block_manager.js';
import type { Request } from './request.js';
import { type SamplingInputs, SamplingPacker } from './sampling_inputs.js';
import type { Batch, SchedulerConfig } from './scheduler.js';
import { type StepInputs, StepPacker } from './step_inputs.js';

/**
 * All that devices need to compute a batch, as plain data that can be sent to another thread. Every rank of a tensor-parallel group
 * is given the same. The arrays are views of buffers that the next one overwrites.
 */
export interface StepDescription {
  readonly inputs: StepInputs;
  /** Whether every row is sampled, in the order of the rows, as in a step of decodes alone. */
  readonly decodes: boolean;
  /** To be made before the forward pass. */
  readonly copies: readonly BlockCopy[];
  /** Rows of the packed batch and the tokens that follow them in their prompts, whose log-probabilities are wanted; null: none. */
  readonly scored: { readonly rows: Int32Array; readonly targets: Int32Array } | null;
  /** Null where no row is sampled. */
  readonly sampling: SamplingInputs | null;
}

/** Rows of the packed batch whose next prompt token is scored: of `request`, positions [position, position + count). */
export interface PromptRows {
  readonly request: Request;
  readonly row: number;
  readonly position: number;
  readonly count: number;
}

/** Describes batches, in memory that it uses again. */
export class StepDescriber {
  private readonly stepPacker: StepPacker;
  private readonly samplingPacker: SamplingPacker;

  constructor(config: SchedulerConfig, blockSize: number, vocabSize: number, eosTokenIds: readonly number[]) {
    this.stepPacker = new StepPacker(config, blockSize);
    this.samplingPacker = new SamplingPacker(config.maxNumSeqs, vocabSize, eosTokenIds);
  }

  describe(batch: Batch): { step: StepDescription; prompts: readonly PromptRows[] } {
    const { sampled, copies, tokens } = batch;
    const prompts = promptRows(batch);
    const step = {
      inputs: this.stepPacker.pack(batch),
      decodes: sampled.length === tokens && sampled.every(({ row }, r) => row === r),
      copies,
      scored: prompts.length > 0 ? scoredRows(prompts) : null,
      sampling: sampled.length > 0 ? this.samplingPacker.pack(sampled) : null,
    };
    return { step, prompts };
  }
}

/** The prompt's rows in a batch: a row scores the token after it; the first sample does it for all. */
function promptRows(batch: Batch): PromptRows[] {
  const found: PromptRows[] = [];
  let row = 0;
  for (const { sequence, start, count } of batch.chunks) {
    const { request } = sequence;
    if (request.promptLogprobs !== null && sequence.index === 0 && sequence.outputLength === 0) {
      const scored = Math.min(count, request.promptLength - 1 - start);
      if (scored > 0) found.push({ request, row, position: start + 1, count: scored });
    }
    row += count;
  }
  return found;
}

function scoredRows(prompts: readonly PromptRows[]): { rows: Int32Array; targets: Int32Array } {
  const rows: number[] = [];
  const targets: number[] = [];
  for (const { request, row, position, count } of prompts) {
    const { tokens } = request.sequences[0]!;
    for (let i = 0; i < count; i++) {
      rows.push(row + i);
      targets.push(tokens[position + i]!);
    }
  }
  return { rows: Int32Array.from(rows), targets: Int32Array.from(targets) };
}
