import type { Decoding } from './output_text.js';
import type { FinishReason, Sequence, TokenLogprob } from './request.js';

/** One finished sample. */
export interface Completion {
  readonly id: string;
  /** Which of the request's samples. */
  readonly index: number;
  /** Without special tokens, and without the stop string or token that ended it. Empty where the model has no tokenizer. */
  readonly text: string;
  /** The generated tokens, a final stop token included. */
  readonly tokens: number[];
  /** Length of the prompt in tokens. */
  readonly promptTokens: number;
  readonly finishReason: FinishReason;
  /** Why, where `finishReason` is `error`. */
  readonly error?: string;
  /** One entry per generated token; there when `sampling.logprobs` is set. */
  readonly logprobs?: readonly TokenLogprob[];
  /** By prompt token, the first one null; there when `sampling.promptLogprobs` is set and the prompt was computed. */
  readonly promptLogprobs?: readonly (number | null)[];
}

/** The completion of a finished sequence. @param decoding null where the model has no tokenizer. */
export function completionOf(sequence: Sequence, decoding: Decoding | null): Completion {
  const { request } = sequence;
  return {
    id: request.id,
    index: sequence.index,
    text: textOf(sequence, decoding),
    tokens: sequence.output(),
    promptTokens: sequence.promptLength,
    finishReason: sequence.finishReason!,
    ...(sequence.error !== null && { error: sequence.error }),
    ...(sequence.logprobs !== null && { logprobs: sequence.logprobs }),
    ...(request.promptLogprobs !== null && {
      promptLogprobs: Array.from(request.promptLogprobs, (logprob) => (Number.isNaN(logprob) ? null : logprob)),
    }),
  };
}

/** The completion of a request that could not be taken in. */
export function refusal(id: string, index: number, promptTokens: number, error: string): Completion {
  return { id, index, text: '', tokens: [], promptTokens, finishReason: 'error', error };
}

function textOf(sequence: Sequence, decoding: Decoding | null): string {
  const { text } = sequence;
  if (text === null) {
    const tokens = sequence.output();
    return decoding?.decode(sequence.endedByToken ? tokens.slice(0, -1) : tokens) ?? '';
  }
  text.flush();
  return text.text;
}
