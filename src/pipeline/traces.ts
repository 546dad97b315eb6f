/** Stage 1: the teacher answers every training question until it is right, at most K times (paper §3.1). */
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { ReasoningSource } from './reasoning_source.js';
import { type AttemptRow, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import { judgeTrace, type TraceVerdict } from './verdicts.js';

/** Its `response` is the whole one, a forced beginning included. */
export type TraceRow = AttemptRow & TraceVerdict;

/** The verified traces: correct reasoning by question, in the order of the questions. */
export interface Traces {
  questions: Question[];
  source: ReasoningSource<TraceRow>;
  file: RowFile<TraceRow>;
  /** Of every attempt. */
  keys: string[];
}

interface TraceTask {
  id: string;
  question: Question;
}

export function traceRounds(
  context: StudyContext,
  questions: readonly Question[],
): Rounds<TraceTask, TraceVerdict> & { tasks: TraceTask[] } {
  const { teacher } = context.config;
  const { system, prompt, examples, continuation, reasoning } = teacher;
  return {
    stage: 'traces',
    label: 'traces',
    file: new RowFile<TraceRow>(context.folder.file('traces.jsonl'), context.folder),
    model: teacher.model,
    tasks: questions.map((question) => ({ id: question.id, question })),
    prompt: ({ question }) => ({
      messages: chat(system, prompt, { question: question.question }, examples),
      continuation,
    }),
    attempts: teacher.attempts,
    sampling: teacher.sampling,
    settings: { prompt: { system, prompt, examples, continuation }, reasoning },
    responsePrefix: continuation,
    verdictDependsOn: ({ question: { answer, answerType } }) => ({ reasoning, answer, answerType }),
    judge: ({ question }, completion) => judgeTrace(question, completion, reasoning),
  };
}

/** The verified traces among the rows of `keys`. */
export function verifiedTraces(file: RowFile<TraceRow>, keys: string[], questions: readonly Question[]): Traces {
  const source = new ReasoningSource(file, keys);
  return { questions: questions.filter(({ id }) => source.has(id)), source, file, keys };
}

export async function runTraces(context: StudyContext, questions: readonly Question[]): Promise<Traces> {
  const rounds = traceRounds(context, questions);
  const keys = await runRounds(context, rounds);
  const traces = verifiedTraces(rounds.file, keys, questions);
  if (traces.questions.length === 0) {
    throw new UserError(
      `Stage 'traces' found no correct trace among ${keys.length} attempts: ${summariseReasons(rounds.file, keys)}; ` +
        "raise 'teacher.attempts' or 'teacher.sampling.maxTokens', or change 'teacher.prompt' (see traces.jsonl)",
    );
  }
  return traces;
}
