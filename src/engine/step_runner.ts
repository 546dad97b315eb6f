import type { Batch } from './scheduler.js';

/** What a forward pass and its sampling gave. R is the number of sampled rows of the batch. */
export interface StepOutput {
  /** [R] The sampled tokens; −1 where the logits held a NaN. */
  readonly tokens: Int32Array;
  /** [R] Of the sampled tokens, before any penalty; null when no row wants it. */
  readonly logprobs: Float32Array | null;
  /** [R, topCount] The most probable tokens and their log-probabilities; null when topCount is 0. */
  readonly topTokens: Int32Array | null;
  readonly topLogprobs: Float32Array | null;
  readonly topCount: number;
  /** Whether the forward pass was the replay of a recorded one. */
  readonly recorded?: boolean;
}

/** The seam between the engine's bookkeeping and what computes. */
export interface StepRunner {
  /**
   * Computes a batch: enqueues at once, resolves when the tokens are there. Log-probabilities of prompts are written into
   * their requests.
   */
  forward(batch: Batch): Promise<StepOutput>;
  /** Gives its memory back. */
  dispose(): void | Promise<void>;
}
