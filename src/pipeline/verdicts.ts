/**
 * What a stage makes of a completion: whether its row is usable, why not, and what was read from the text. A verdict
 * depends on what is stored with the row and on nothing else, so it can be reached again without the model.
 */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { type SplitResponse, splitResponse, splitThinking } from './reasoning.js';

/** A completion as a row holds it. */
export interface StoredCompletion {
  /** What was written, a forced beginning included where it counts as the model's own. */
  response: string;
  finishReason: string;
  /** Why it failed, where `finishReason` is `error`. */
  error?: string | undefined;
}

/** Tokens of a text. */
export type CountTokens = (text: string) => number;

interface Verdict {
  ok: boolean;
  /** Why it is not ok. */
  reason?: string;
}

function verdict(reason: string | null): Verdict {
  return reason === null ? { ok: true } : { ok: false, reason };
}

/** Why a completion cannot be used whatever it says, or null. */
function completionProblem({ finishReason, error }: StoredCompletion): string | null {
  if (finishReason === 'error') return `error: ${error ?? 'unknown'}`;
  if (finishReason === 'length') return 'cut off at the token limit';
  return null;
}

export interface TraceVerdict extends Verdict {
  reasoning: string;
  /** What stands behind the reasoning; with reasoning `all`, the whole response. */
  final: string;
  /** The extracted answer, or null. */
  answer: string | null;
}

/** A trace is usable when its reasoning ends and its answer is right. */
export function judgeTrace(
  { answerType, answer: expected }: Question,
  completion: StoredCompletion,
  mode: 'think' | 'all',
): TraceVerdict {
  const { reasoning, final } = splitResponse(completion.response, mode);
  const answer = final === null ? null : (extractAnswer(answerType, final)?.answer ?? null);
  let reason = completionProblem(completion);
  if (reason === null && final === null) reason = 'reasoning without end';
  if (reason === null && reasoning === '') reason = 'no reasoning';
  if (reason === null && answer === null) reason = 'no answer found';
  if (reason === null && !answersEqual(answerType, expected, answer!)) reason = 'wrong answer';
  return { ...verdict(reason), reasoning, final: final ?? '', answer };
}

export interface CompressionVerdict extends Verdict {
  /** The compressed reasoning. */
  reasoning: string;
  /** Length in characters over that of the original. */
  ratio: number;
  characters: number;
  originalCharacters: number;
  /** Length in tokens of the compressor's tokenizer. */
  tokens: number;
  originalTokens: number;
}

/** A compression is usable when it is there, short enough, and, where that is asked for, still tells the answer. */
export function judgeCompression(
  question: Question,
  original: string,
  completion: StoredCompletion,
  { maxRatio, keepAnswer }: { maxRatio: number; keepAnswer: boolean },
  count: CountTokens,
): CompressionVerdict {
  // A compressor that thinks before it writes: what it thought is not the compression.
  const reasoning = splitThinking(completion.response).final ?? '';
  const ratio = reasoning.length / original.length;
  let reason = completionProblem(completion);
  if (reason === null && reasoning === '') reason = 'empty';
  if (reason === null && ratio > maxRatio) reason = `longer than ${maxRatio} of the original`;
  if (reason === null && keepAnswer && !holdsAnswer(question, reasoning)) reason = 'answer lost';
  return {
    ...verdict(reason),
    reasoning,
    ratio: Math.round(ratio * 1e4) / 1e4,
    characters: reasoning.length,
    originalCharacters: original.length,
    tokens: count(reasoning),
    originalTokens: count(original),
  };
}

function holdsAnswer({ answerType, answer }: Question, reasoning: string): boolean {
  const extraction = extractAnswer(answerType, reasoning);
  return extraction !== null && answersEqual(answerType, answer, extraction.answer);
}

/** `ok` says that the answer is right. */
export interface EvaluationVerdict extends Verdict {
  expected: string;
  answer: string | null;
  /** Cut off at the cap. */
  truncated: boolean;
  reasoningCharacters: number;
  /** In the student's tokens. */
  reasoningTokens: number;
}

/** A response that was cut off counts with whatever answer it states outright. */
export function judgeEvaluation(
  { answerType, answer: expected }: Question,
  completion: StoredCompletion,
  mode: 'think' | 'all',
  count: CountTokens,
): EvaluationVerdict {
  const truncated = completion.finishReason === 'length';
  const { reasoning, final }: SplitResponse = splitResponse(completion.response, mode);
  const extraction = final === null ? null : extractAnswer(answerType, final, { fallback: !truncated });
  const answer = extraction?.answer ?? null;
  const ok = answer !== null && answersEqual(answerType, expected, answer);
  let reason: string | null = ok ? null : 'wrong answer';
  if (completion.finishReason === 'error') reason = `error: ${completion.error ?? 'unknown'}`;
  else if (answer === null) reason = truncated ? 'cut off at the token limit' : 'no answer found';
  return {
    ...verdict(reason),
    expected,
    answer,
    truncated,
    reasoningCharacters: reasoning.length,
    reasoningTokens: reasoning === '' ? 0 : count(reasoning),
  };
}
