/**
 * What the stages need from the engine and the trainer, and nothing more: so that a stage can be read, tested and
 * killed without a model. The real one is engine_services.ts.
 */
import type { TrainConfig } from '../training/config.js';
import type { TokeniseProgress } from '../training/dataset.js';
import type { StepMetrics } from '../training/metrics.js';
import type { InferenceRates, TrainingRates } from './rates.js';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

export interface Sampling {
  temperature: number;
  topP?: number | undefined;
  topK?: number | undefined;
  minP?: number | undefined;
  presencePenalty?: number | undefined;
  frequencyPenalty?: number | undefined;
  repetitionPenalty?: number | undefined;
  maxTokens?: number | undefined;
  minTokens?: number | undefined;
  stop?: string[] | undefined;
}

export interface TextRequest {
  /** Given back with the completion. */
  id: string;
  messages: ChatMessage[];
  /** Text put behind the generation prompt; not repeated in the completion. */
  continuation: string;
  sampling: Sampling & { seed: number };
}

export interface TextCompletion {
  id: string;
  text: string;
  /** Tokens written, the end of turn included. */
  tokens: readonly number[];
  promptTokens: number;
  finishReason: 'stop' | 'length' | 'aborted' | 'error';
  error?: string | undefined;
}

/** Counts and cuts text; special tokens are neither added nor shown. */
export interface TextTokenizer {
  encode(text: string): number[];
  decode(tokens: readonly number[]): string;
}

export interface OpenModel {
  readonly tokenizer: TextTokenizer;
  /** The prompt as the model sees it. */
  render(messages: ChatMessage[], continuation: string): string;
  /** All requests as one batch, taken as there is room for them; completions as they finish, in any order. */
  generate(requests: Iterable<TextRequest>, options: { signal: AbortSignal }): AsyncIterable<TextCompletion>;
  /** What the engine is doing, for the progress line: tokens/s and KV use. */
  status?(): string;
  /** Seconds that the device has worked since the model was opened. */
  deviceSeconds?(): number;
}

export interface TrainedStudent {
  steps: number;
  /** Trained tokens over all epochs. */
  trainedTokens: number;
  seconds: number;
  finalLoss: number;
  /** Devices that trained side by side. Default 1. */
  devices?: number;
}

/** What is tried out: some prompts of a stage, tokens that stand behind each on average, sequences that run at once. */
export interface InferenceWork {
  prompts: readonly ChatMessage[][];
  behind: number;
  batch: number;
}

/** Some prompts of training rows, tokens of a target, and of a whole row. */
export interface TrainingWork {
  prompts: readonly ChatMessage[][];
  target: number;
  length: number;
}

export interface Services {
  /** A hash of weights, configuration, tokenizer and template; does not load the weights. */
  fingerprint(model: string): Promise<string>;
  /** Opens a model, closing the one opened before unless it is the same. @param options.adapter a PEFT folder to apply */
  open(model: string, options?: { adapter?: string | undefined }): Promise<OpenModel>;
  /** The tokenizer alone, without the weights. */
  tokenizer(model: string): Promise<TextTokenizer>;
  /** Rejects, with a checkpoint kept, when the signal is aborted. */
  train(
    config: TrainConfig,
    options: {
      signal: AbortSignal;
      onTokenise: (progress: TokeniseProgress) => void;
      onStep: (metrics: StepMetrics, totalSteps: number | null) => void;
    },
  ): Promise<TrainedStudent>;
  /** Facts about the machine for the manifest: device, instruction set, threads. */
  machine(): Promise<Record<string, string | number>>;
  /**
   * Names what decides the bits that come out of equal inputs: the kind of device, its instruction set and what its kernels
   * compute. Part of the identity of every row that a model writes.
   */
  numerics(): Promise<string>;
  /** How fast a model writes here, tried out for some seconds. Leaves it open. */
  measure(model: string, work: InferenceWork): Promise<InferenceRates>;
  /** How fast a student trains here: two steps of its packs, of which nothing stays. Closes the open model. */
  measureTraining(config: TrainConfig, work: TrainingWork): Promise<TrainingRates>;
  close(): Promise<void>;
}
