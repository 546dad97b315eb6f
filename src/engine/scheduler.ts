import type { BlockCopy, BlockManager } from './block_manager.js';
import type { FinishReason, Request, Sequence } from './request.js';

export interface SchedulerConfig {
  /** Most sequences that run at once. */
  readonly maxNumSeqs: number;
  /** Most tokens in one forward pass; at least maxNumSeqs. */
  readonly maxNumBatchedTokens: number;
  /** Most tokens of one sequence in one forward pass. */
  readonly maxPrefillChunk: number;
  /**
   * Which tokens of a sequence are computed in one chunk, so by which kernel, follows from their positions alone: chunks of a prompt end
   * where blocks end and are not cut by the budget, a last token behind the last full block is computed on its own, generated tokens are
   * computed one by one also when that is done anew, and only blocks of the prompt are shared.
   */
  readonly invariant: boolean;
}

/** Tokens [start, start + count) of a sequence, to be computed in this step. */
export interface Chunk {
  readonly sequence: Sequence;
  readonly start: number;
  readonly count: number;
  /** The last token is this one of those that the step before samples, which may not be known yet; −1: all are known. */
  readonly lastSampled: number;
}

/** A sequence that gets its next token from row `row` of the packed batch. */
export interface SampledRow {
  readonly sequence: Sequence;
  readonly row: number;
  /** Of the token to sample: so many tokens are before it. */
  readonly position: number;
  /** As of its chunk. */
  readonly lastSampled: number;
}

/** What one forward pass does. */
export interface Batch {
  /** Packed in this order: first single decode tokens, then prefill chunks. */
  readonly chunks: Chunk[];
  readonly sampled: SampledRow[];
  /** To be made before the forward pass. */
  readonly copies: BlockCopy[];
  tokens: number;
}

/**
 * Decides which tokens of which sequences the next forward pass computes: continuous batching over a token budget, first come first
 * served, decodes before prefill chunks. When blocks run out, the youngest running sequence is preempted: it loses its blocks,
 * waits, and is recomputed later. Plain bookkeeping.
 *
 * A batch may be scheduled before the tokens of the one before it are known: those that it needs it names by their place there.
 * Batches must be computed in order, so blocks may change hands while one is in progress.
 */
export class Scheduler {
  readonly config: SchedulerConfig;
  readonly blocks: BlockManager;
  /** Oldest first. */
  readonly running: Sequence[] = [];
  /** Oldest first. */
  readonly waiting: Sequence[] = [];
  preemptions = 0;

  private arrivals = 0;

  constructor(config: SchedulerConfig, blocks: BlockManager) {
    this.config = config;
    this.blocks = blocks;
  }

  get isIdle(): boolean {
    return this.running.length === 0 && this.waiting.length === 0;
  }

  /** Queues a request. Only its first sample computes the prompt; the others fork from it. */
  add(request: Request): void {
    request.arrival = this.arrivals++;
    if (this.config.invariant) for (const sequence of request.sequences) sequence.shareable = sequence.promptLength;
    this.enqueue(request.sequences[0]!);
  }

  /** The next batch; empty only when there is nothing to do, or not before the step in progress is over. */
  schedule(): Batch {
    const batch: Batch = { chunks: [], sampled: [], copies: [], tokens: 0 };
    const preempted = this.scheduleDecodes(batch);
    this.schedulePrefills(batch);
    if (!preempted) this.admit(batch);
    const awaited = ({ expected }: Sequence): boolean => expected > 0;
    if (batch.tokens === 0 && !this.isIdle && !this.running.some(awaited) && !this.waiting.some(awaited))
      throw new Error('nothing can be scheduled although sequences wait');
    for (const { sequence, start, count } of batch.chunks) sequence.computed = start + count;
    for (const [r, { sequence }] of batch.sampled.entries()) {
      sequence.expected++;
      sequence.sampledRow = r;
    }
    return batch;
  }

  /**
   * Gives a sequence its next token. That there is one shows that all it attends to is sound (a NaN anywhere before would have
   * reached its logits), so only now may others share the blocks.
   */
  accept({ sequence, position }: SampledRow, token: number): void {
    if (sequence.status === 'running') this.blocks.publish(sequence, position);
    sequence.expected--;
    sequence.append(token);
  }

  /** Ends a sequence in any state and takes its blocks back. */
  finish(sequence: Sequence, reason: FinishReason, error: string | null = null): void {
    if (sequence.status === 'finished') return;
    if (sequence.status === 'running') remove(this.running, sequence);
    if (sequence.status === 'waiting') remove(this.waiting, sequence);
    this.blocks.release(sequence);
    sequence.status = 'finished';
    sequence.finishReason = reason;
    sequence.error = error;
  }

  /** Has every running sequence recomputed, with a new salt: what was computed is no longer valid, as after a change of weights. */
  invalidate(salt: string): void {
    while (this.running.length > 0) this.preempt(this.running.at(-1)!);
    this.blocks.clearCache();
    for (const waiting of this.waiting) {
      for (const sequence of waiting.request.sequences) {
        sequence.salt = salt;
        sequence.hashes.length = 0;
      }
    }
  }

  private scheduleDecodes(batch: Batch): boolean {
    let preempted = false;
    for (let i = 0; i < this.running.length; i++) {
      const sequence = this.running[i]!;
      const { pending, end, maxLength } = sequence;
      if (pending !== 1 || end === maxLength) continue; // that long it ends with the token that is expected
      while (sequence.status === 'running' && !this.blocks.append(sequence, batch.copies)) {
        this.preempt(this.running.at(-1)!);
        this.preemptions++;
        preempted = true;
      }
      if (sequence.status === 'running') this.compute(sequence, 1, batch);
    }
    return preempted;
  }

  private schedulePrefills(batch: Batch): void {
    // A fork lengthens `running`; what it adds has nothing to compute yet.
    for (const sequence of [...this.running]) {
      const room = this.config.maxNumBatchedTokens - batch.tokens;
      if (room === 0) return;
      if (sequence.pending > 1) this.compute(sequence, room, batch);
    }
  }

  private admit(batch: Batch): void {
    // A sequence whose prefix is being computed, or its own next token, waits for it, and lets others pass.
    for (let i = 0; i < this.waiting.length && this.running.length < this.config.maxNumSeqs; ) {
      const room = this.config.maxNumBatchedTokens - batch.tokens;
      const sequence = this.waiting[i]!;
      if (room === 0) return;
      if (sequence.expected > 0 || this.blocks.isWorthWaiting(sequence)) {
        i++;
        continue;
      }
      if (!this.blocks.admit(sequence, this.reserve())) return;
      this.waiting.splice(i, 1);
      this.run(sequence);
      this.compute(sequence, room, batch);
    }
  }

  /**
   * Blocks kept for the growth of what runs when a new sequence is admitted, so that it is not preempted at once: a hundredth of all, but
   * no more than what runs can still take. So where every seat has a full context's blocks, every seat is taken.
   */
  private reserve(): number {
    const most = Math.ceil(this.blocks.total / 100);
    let growth = 0;
    for (const { maxLength, blocks } of this.running) {
      growth += this.blocks.blocksFor(maxLength) - blocks.length;
      if (growth >= most) return most;
    }
    return growth;
  }

  /** Tokens of a sequence's next chunk, of which `room` can be computed; 0: it has to wait for more room. */
  private chunkSize({ computed, pending, promptLength }: Sequence, room: number): number {
    const most = Math.min(room, pending, this.config.maxPrefillChunk);
    if (!this.config.invariant) return most;
    if (computed >= promptLength) return 1;
    const { blockSize } = this.blocks;
    const last = promptLength % blockSize === 1 ? promptLength - 1 : promptLength;
    const end = computed < last ? last : promptLength;
    if (computed + most >= end) return end - computed;
    return Math.floor((computed + most) / blockSize) * blockSize - computed;
  }

  private compute(sequence: Sequence, room: number, batch: Batch): void {
    const count = this.chunkSize(sequence, room);
    if (count <= 0) return;
    const start = sequence.computed;
    const position = start + count;
    const lastSampled = position > sequence.length ? sequence.sampledRow : -1;
    batch.chunks.push({ sequence, start, count, lastSampled });
    batch.tokens += count;
    if (count < sequence.pending) return;
    const row = batch.tokens - 1;
    batch.sampled.push({ sequence, row, position, lastSampled });
    if (sequence.index === 0 && position === sequence.promptLength) this.fork(sequence, row, batch);
  }

  /** The other samples of a request share its prompt's blocks and take their first token from the same row. */
  private fork(first: Sequence, row: number, batch: Batch): void {
    for (const sibling of first.request.sequences) {
      if (sibling.status !== 'new') continue;
      if (this.running.length < this.config.maxNumSeqs) {
        this.blocks.fork(first, sibling);
        sibling.computed = sibling.length; // by the chunk of the first, in this step
        this.run(sibling);
        batch.sampled.push({ sequence: sibling, row, position: sibling.length, lastSampled: -1 });
      } else {
        this.enqueue(sibling); // no seat: it comes later on its own, with what the prefix cache then holds
      }
    }
  }

  private preempt(sequence: Sequence): void {
    remove(this.running, sequence);
    this.blocks.release(sequence);
    this.enqueue(sequence);
  }

  private run(sequence: Sequence): void {
    sequence.status = 'running';
    insert(this.running, sequence);
  }

  private enqueue(sequence: Sequence): void {
    sequence.status = 'waiting';
    insert(this.waiting, sequence);
  }
}

/** Keeps a list oldest first. New entries are mostly the youngest, so the search starts at the end. */
function insert(list: Sequence[], sequence: Sequence): void {
  let at = list.length;
  while (at > 0 && sequence.precedes(list[at - 1]!)) at--;
  list.splice(at, 0, sequence);
}

function remove(list: Sequence[], sequence: Sequence): void {
  const at = list.lastIndexOf(sequence);
  if (at < 0) throw new Error('a sequence is not where its status says');
  list.splice(at, 1);
}
