/** Stage 2: a compressor rewrites every verified trace with one generic prompt (paper §3.2). */
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import type { CompressorConfig } from './config.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { ReasoningSource } from './reasoning_source.js';
import { type AttemptRow, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import type { Traces } from './traces.js';
import { type CompressionVerdict, judgeCompression } from './verdicts.js';

export type CompressionRow = AttemptRow & CompressionVerdict;

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
): Rounds<CompressTask, CompressionVerdict> {
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
    }),
    attempts: compressor.attempts,
    sampling: compressor.sampling,
    settings: { prompt: { system, prompt, examples, continuation }, usable: { maxRatio, keepAnswer } },
    verdictDependsOn: ({ question: { answer, answerType } }) => ({
      maxRatio,
      ...(keepAnswer && { answer, answerType }),
    }),
    judge: ({ question }, completion, count) =>
      judgeCompression(question, traces.source.reasoning(question.id), completion, compressor, count),
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
