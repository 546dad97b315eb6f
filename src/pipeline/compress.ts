/** Stage 2: a compressor rewrites every verified trace with one generic prompt (paper §3.2). */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import type { CompressorConfig } from './config.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { splitThinking } from './reasoning.js';
import { type AttemptRow, completionFacts, completionProblem, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import type { OpenModel, TextCompletion } from './services.js';
import type { Trace } from './traces.js';

export interface CompressionRow extends AttemptRow {
  /** The compressed reasoning. */
  reasoning: string;
  /** Length in characters over that of the original. */
  ratio: number;
  characters: number;
  originalCharacters: number;
  /** Length in tokens of the compressor's tokenizer. */
  tokens: number;
  originalTokens: number;
  promptTokens: number;
  completionTokens: number;
  finishReason: string;
}

/** @returns the usable compressions by question id, and every attempt. */
export async function runCompress(
  context: StudyContext,
  compressor: CompressorConfig,
  traces: readonly Trace[],
): Promise<{ reasoning: Map<string, string>; rows: CompressionRow[] }> {
  const rows = await runRounds(context, {
    stage: 'compress',
    label: `compress ${compressor.name}`,
    file: new RowFile<CompressionRow>(context.folder.file('compressed', `${compressor.name}.jsonl`)),
    model: compressor.model,
    tasks: traces.map((trace) => ({
      id: trace.question.id,
      messages: chat(
        compressor.system,
        compressor.prompt,
        { question: trace.question.question, reasoning: trace.reasoning, answer: trace.question.answer },
        compressor.examples,
      ),
      continuation: compressor.continuation,
      identity: {
        reasoning: trace.reasoning,
        maxRatio: compressor.maxRatio,
        keepAnswer: compressor.keepAnswer && trace.question.answer,
      },
      trace,
    })),
    attempts: compressor.attempts,
    sampling: compressor.sampling,
    judge: ({ trace }, completion, model, row) => judge(trace, completion, model, row, compressor),
  });
  const usable = rows.filter((row) => row.ok);
  if (usable.length === 0) {
    throw new UserError(
      `Stage 'compress' has no usable compression by '${compressor.name}' among ${rows.length}: ${summariseReasons(rows)}; ` +
        `change its 'prompt', raise 'sampling.maxTokens' or 'maxRatio' (see compressed/${compressor.name}.jsonl)`,
    );
  }
  return { reasoning: new Map(usable.map((row) => [row.id, row.reasoning])), rows };
}

function holdsAnswer({ answerType, answer }: Question, reasoning: string): boolean {
  const extraction = extractAnswer(answerType, reasoning);
  return extraction !== null && answersEqual(answerType, answer, extraction.answer);
}

function judge(
  trace: Trace,
  completion: TextCompletion,
  model: OpenModel,
  row: { key: string; id: string; attempt: number },
  { maxRatio, keepAnswer }: CompressorConfig,
): CompressionRow {
  // A compressor that thinks before it writes: what it thought is not the compression.
  const reasoning = splitThinking(completion.text).final ?? '';
  const ratio = reasoning.length / trace.reasoning.length;
  let reason = completionProblem(completion);
  if (reason === null && reasoning === '') reason = 'empty';
  if (reason === null && ratio > maxRatio) reason = `longer than ${maxRatio} of the original`;
  if (reason === null && keepAnswer && !holdsAnswer(trace.question, reasoning)) reason = 'answer lost';
  return {
    ...row,
    ok: reason === null,
    ...(reason === null ? {} : { reason }),
    reasoning,
    ratio: Math.round(ratio * 1e4) / 1e4,
    characters: reasoning.length,
    originalCharacters: trace.reasoning.length,
    tokens: model.tokenizer.encode(reasoning).length,
    originalTokens: model.tokenizer.encode(trace.reasoning).length,
    ...completionFacts(completion),
  };
}
