/** Stage 1: the teacher answers every training question until it is right, at most K times (paper §3.1). */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import { type StudyContext, summariseReasons } from './context.js';
import { chat } from './messages.js';
import { splitResponse } from './reasoning.js';
import { type AttemptRow, completionFacts, completionProblem, runRounds } from './rounds.js';
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
  promptTokens: number;
  completionTokens: number;
  finishReason: string;
}

/** A verified trace: the question, its correct reasoning r and the text of the answer. */
export interface Trace {
  question: Question;
  reasoning: string;
  final: string;
  row: TraceRow;
}

/** @returns the verified traces in the order of the questions, and every attempt. */
export async function runTraces(
  context: StudyContext,
  questions: readonly Question[],
): Promise<{ traces: Trace[]; rows: TraceRow[] }> {
  const { teacher } = context.config;
  const rows = await runRounds(context, {
    stage: 'traces',
    label: 'traces',
    file: new RowFile<TraceRow>(context.folder.file('traces.jsonl')),
    model: teacher.model,
    tasks: questions.map((question) => ({
      id: question.id,
      messages: chat(teacher.system, teacher.prompt, { question: question.question }, teacher.examples),
      continuation: teacher.continuation,
      identity: { reasoning: teacher.reasoning, answer: question.answer, answerType: question.answerType },
      question,
    })),
    attempts: teacher.attempts,
    sampling: teacher.sampling,
    judge: ({ question }, completion, _, row) => judge(question, completion, row, teacher),
  });
  const correct = new Map(rows.filter((row) => row.ok).map((row) => [row.id, row]));
  if (correct.size === 0) {
    throw new UserError(
      `Stage 'traces' found no correct trace among ${rows.length} attempts: ${summariseReasons(rows)}; ` +
        "raise 'teacher.attempts' or 'teacher.sampling.maxTokens', or change 'teacher.prompt' (see traces.jsonl)",
    );
  }
  const traces = questions.flatMap((question) => {
    const row = correct.get(question.id);
    return row === undefined ? [] : [{ question, reasoning: row.reasoning, final: row.final, row }];
  });
  return { traces, rows };
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
