import type { FinishReason } from './request.js';
import type { Batch, Scheduler } from './scheduler.js';

/** Where the engine stands. Times are in seconds, tokens count from the start of the engine. */
export interface EngineStatistics {
  readonly running: number;
  readonly waiting: number;
  readonly kvBlocks: { readonly total: number; readonly used: number; readonly cached: number; readonly free: number };
  /** Bytes: of the KV cache, and what the device that the engine shares with others counts (see DeviceStatistics). */
  readonly memory: {
    readonly kvBytes: number;
    readonly liveBytes: number;
    readonly peakBytes: number;
    readonly reservedBytes: number;
    /** Beside them: what single operations take for themselves. */
    readonly scratchBytes: number;
  };
  /** Share of the KV blocks that sequences hold. */
  readonly kvUse: number;
  /** Prompt tokens looked up in the prefix cache, and those found there. */
  readonly prefixQueriedTokens: number;
  readonly prefixHitTokens: number;
  readonly evictions: number;
  readonly copiesOnWrite: number;
  readonly preemptions: number;
  readonly steps: number;
  /** Steps that were scheduled while the one before was in progress. */
  readonly overlappedSteps: number;
  /** Steps that replayed a recorded forward pass. */
  readonly recordedSteps: number;
  /** Most sequences in one step. */
  readonly peakSequences: number;
  /** Tokens computed in prefill chunks, those recomputed after a preemption among them, and the chunks. */
  readonly prefillTokens: number;
  readonly prefillChunks: number;
  readonly generatedTokens: number;
  /** Tokens sampled for sequences that had ended when they came. */
  readonly discardedTokens: number;
  /** Generated tokens per second of work, lately (decaying over some 5 s of work). */
  readonly tokensPerSecond: number;
  /** Time spent in steps. */
  readonly busySeconds: number;
  /** Part of it spent in JavaScript: scheduling, packing, enqueueing, committing. Most of it passes while the device computes. */
  readonly overheadSeconds: number;
  /** Part of that for which the device has nothing to do: committing a step and scheduling the next one, where none is in progress. */
  readonly idleSeconds: number;
  /** Samples that ended, by reason. */
  readonly finished: Readonly<Record<FinishReason, number>>;
}

const DECAY_SECONDS = 5;

/** Of one turn of the loop; see {@link EngineStatistics}. */
export interface StepTimes {
  readonly seconds: number;
  readonly overheadSeconds: number;
  readonly idleSeconds: number;
}

/** Counts what the steps do. */
export class StatisticsCounter {
  private steps = 0;
  private overlappedSteps = 0;
  private recordedSteps = 0;
  private peakSequences = 0;
  private prefillTokens = 0;
  private prefillChunks = 0;
  private generatedTokens = 0;
  private discardedTokens = 0;
  private busySeconds = 0;
  private overheadSeconds = 0;
  private idleSeconds = 0;
  private recentTokens = 0;
  private recentSeconds = 0;
  private readonly finished: Record<FinishReason, number> = { stop: 0, length: 0, aborted: 0, error: 0 };

  /** Counts a step that has been committed, and of its tokens those that were given to sequences and those that came too late. */
  countStep(batch: Batch, recorded: boolean, generatedTokens: number, discardedTokens: number): void {
    this.steps++;
    if (recorded) this.recordedSteps++;
    this.peakSequences = Math.max(this.peakSequences, batch.chunks.length);
    for (const { sequence, start, count } of batch.chunks) {
      if (count === 1 && start >= sequence.promptLength) continue;
      this.prefillTokens += count;
      this.prefillChunks++;
    }
    this.generatedTokens += generatedTokens;
    this.discardedTokens += discardedTokens;
    this.recentTokens += generatedTokens;
  }

  countOverlap(): void {
    this.overlappedSteps++;
  }

  countTimes({ seconds, overheadSeconds, idleSeconds }: StepTimes): void {
    this.busySeconds += seconds;
    this.overheadSeconds += overheadSeconds;
    this.idleSeconds += idleSeconds;
    const keep = Math.exp(-seconds / DECAY_SECONDS);
    this.recentTokens *= keep;
    this.recentSeconds = this.recentSeconds * keep + seconds;
  }

  countFinished(reason: FinishReason): void {
    this.finished[reason]++;
  }

  snapshot(scheduler: Scheduler, memory: EngineStatistics['memory']): EngineStatistics {
    const { blocks } = scheduler;
    return {
      running: scheduler.running.length,
      waiting: scheduler.waiting.length,
      kvBlocks: { total: blocks.total, used: blocks.usedBlocks, cached: blocks.cachedBlocks, free: blocks.freeBlocks },
      memory,
      kvUse: blocks.usedBlocks / blocks.total,
      prefixQueriedTokens: blocks.queriedTokens,
      prefixHitTokens: blocks.hitTokens,
      evictions: blocks.evictions,
      copiesOnWrite: blocks.copiesOnWrite,
      preemptions: scheduler.preemptions,
      steps: this.steps,
      overlappedSteps: this.overlappedSteps,
      recordedSteps: this.recordedSteps,
      peakSequences: this.peakSequences,
      prefillTokens: this.prefillTokens,
      prefillChunks: this.prefillChunks,
      generatedTokens: this.generatedTokens,
      discardedTokens: this.discardedTokens,
      tokensPerSecond: this.recentSeconds > 0 ? this.recentTokens / this.recentSeconds : 0,
      busySeconds: this.busySeconds,
      overheadSeconds: this.overheadSeconds,
      idleSeconds: this.idleSeconds,
      finished: { ...this.finished },
    };
  }
}

/** One line for a progress bar. */
export function formatStatistics(statistics: EngineStatistics): string {
  const { running, waiting, tokensPerSecond, kvUse, prefixQueriedTokens, prefixHitTokens, preemptions } = statistics;
  const parts = [`${Math.round(tokensPerSecond)} tokens/s`, `running ${running}`, `waiting ${waiting}`];
  parts.push(`KV ${Math.round(kvUse * 100)} %`);
  if (prefixQueriedTokens > 0) parts.push(`prefix hits ${Math.round((100 * prefixHitTokens) / prefixQueriedTokens)} %`);
  if (preemptions > 0) parts.push(`preemptions ${preemptions}`);
  return parts.join(' · ');
}
