/** Stage 1: the teacher answers every training question until it is right, at most K times (paper §3.1). */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { splitResponse } from './reasoning.js';
import { ReasoningSource } from './reasoning_source.js';
import { type AttemptRow, completionFacts, completionProblem, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import type { TextCompletion } from './services.js';

export interface TraceRow extends AttemptRow {
  /** The whole response, a forced beginning included. */
  response: string;
  reasoning: string;
  /** What stands behind the reasoning; with reasoning `all`, the whole response. */
  final: string;
  /** The extracted answer, or null. */
  answer: string | null;
  finishReason: string;
}

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
): Rounds<TraceTask, TraceRow> & { tasks: TraceTask[] } {
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
      identity: { reasoning, answer: question.answer, answerType: question.answerType },
    }),
    attempts: teacher.attempts,
    sampling: teacher.sampling,
    settings: { prompt: { system, prompt, examples, continuation }, reasoning },
    judge: ({ question }, completion, _, row) => judge(question, completion, row, teacher),
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

function judge(
  question: Question,
  completion: TextCompletion,
  row: { key: string; id: string; attempt: number },
  teacher: StudyContext['config']['teacher'],
): TraceRow {
  const response = teacher.continuation + completion.text;
  const { reasoning, final } = splitResponse(response, teacher.reasoning);
  const answer = final === null ? null : (extractAnswer(question.answerType, final)?.answer ?? null);
  let reason = completionProblem(completion);
  if (reason === null && final === null) reason = 'reasoning without end';
  if (reason === null && reasoning === '') reason = 'no reasoning';
  if (reason === null && answer === null) reason = 'no answer found';
  if (reason === null && !answersEqual(question.answerType, question.answer, answer!)) reason = 'wrong answer';
  return {
    ...row,
    ok: reason === null,
    ...(reason === null ? {} : { reason }),
    response,
    reasoning,
    final: final ?? '',
    answer,
    ...completionFacts(completion),
  };
}
