/** Stage 2: a compressor rewrites every verified trace with one generic prompt (paper §3.2). */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import type { CompressorConfig } from './config.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { splitThinking } from './reasoning.js';
import { ReasoningSource } from './reasoning_source.js';
import { type AttemptRow, completionFacts, completionProblem, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import type { OpenModel, TextCompletion } from './services.js';
import type { Traces } from './traces.js';

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
  finishReason: string;
}

interface CompressTask {
  id: string;
  question: Question;
}

export interface Compressions {
  file: RowFile<CompressionRow>;
  /** Of every attempt. */
  keys: string[];
  source: ReasoningSource<CompressionRow>;
}

export function compressRounds(
  context: StudyContext,
  compressor: CompressorConfig,
  traces: Traces,
): Rounds<CompressTask, CompressionRow> {
  const { system, prompt, examples, continuation, maxRatio, keepAnswer } = compressor;
  return {
    stage: 'compress',
    label: `compress ${compressor.name}`,
    file: new RowFile<CompressionRow>(context.folder.file('compressed', `${compressor.name}.jsonl`), context.folder),
    model: compressor.model,
    tasks: traces.questions.map((question) => ({ id: question.id, question })),
    prompt: ({ question }) => ({
      messages: chat(
        system,
        prompt,
        { question: question.question, reasoning: traces.source.reasoning(question.id), answer: question.answer },
        examples,
      ),
      continuation,
      identity: { maxRatio, keepAnswer: keepAnswer && question.answer },
    }),
    attempts: compressor.attempts,
    sampling: compressor.sampling,
    settings: { prompt: { system, prompt, examples, continuation }, usable: { maxRatio, keepAnswer } },
    judge: ({ question }, completion, model, row) =>
      judge(question, traces.source.reasoning(question.id), completion, model, row, compressor),
  };
}

export async function runCompress(
  context: StudyContext,
  compressor: CompressorConfig,
  traces: Traces,
): Promise<Compressions> {
  const rounds = compressRounds(context, compressor, traces);
  const { file } = rounds;
  const keys = await runRounds(context, rounds);
  const source = new ReasoningSource(file, keys);
  if (source.size === 0) {
    throw new UserError(
      `Stage 'compress' has no usable compression by '${compressor.name}' among ${keys.length}: ${summariseReasons(file, keys)}; ` +
        `change its 'prompt', raise 'sampling.maxTokens' or 'maxRatio' (see compressed/${compressor.name}.jsonl)`,
    );
  }
  return { file, keys, source };
}

function holdsAnswer({ answerType, answer }: Question, reasoning: string): boolean {
  const extraction = extractAnswer(answerType, reasoning);
  return extraction !== null && answersEqual(answerType, answer, extraction.answer);
}

function judge(
  question: Question,
  original: string,
  completion: TextCompletion,
  model: OpenModel,
  row: { key: string; id: string; attempt: number },
  { maxRatio, keepAnswer }: CompressorConfig,
): CompressionRow {
  // A compressor that thinks before it writes: what it thought is not the compression.
  const reasoning = splitThinking(completion.text).final ?? '';
  const ratio = reasoning.length / original.length;
  let reason = completionProblem(completion);
  if (reason === null && reasoning === '') reason = 'empty';
  if (reason === null && ratio > maxRatio) reason = `longer than ${maxRatio} of the original`;
  if (reason === null && keepAnswer && !holdsAnswer(question, reasoning)) reason = 'answer lost';
  return {
    ...row,
    ok: reason === null,
    ...(reason === null ? {} : { reason }),
    reasoning,
    ratio: Math.round(ratio * 1e4) / 1e4,
    characters: reasoning.length,
    originalCharacters: original.length,
    tokens: model.tokenizer.encode(reasoning).length,
    originalTokens: model.tokenizer.encode(original).length,
    ...completionFacts(completion),
  };
}
