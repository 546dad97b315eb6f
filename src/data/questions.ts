/**
 * A question with a checkable answer, and where such questions come from: a JSONL file of
 * `{"id", "question", "answer", "answerType"}`, the built-in generator (word_problems.ts) or a published dataset
 * (datasets/).
 */
import { z } from 'zod';
import { UserError } from '../errors.js';
import { canonicalAnswer } from './answers.js';
import { readJsonl } from './jsonl.js';

export const answerTypes = ['number', 'letter', 'boolean', 'latex'] as const;
export type AnswerType = (typeof answerTypes)[number];

export interface Question {
  id: string;
  question: string;
  /** The canonical answer, see answers.ts: `18`, `7/2`, `C`, `true`, `\\frac{\\pi}{2}`. */
  answer: string;
  answerType: AnswerType;
  /** The dataset it is from, where there are several to tell apart. */
  dataset?: string;
  /** A part of that dataset, such as a subject of MMLU. */
  group?: string;
  /** Where options were shuffled: the option shown at place i stood at `order[i]`. */
  order?: number[];
}

const rowSchema = z.object({
  id: z.union([z.string().min(1), z.number()]).transform(String),
  question: z.string().min(1),
  answer: z.union([z.string(), z.number(), z.boolean()]).transform(String),
  answerType: z.enum(answerTypes),
  dataset: z.string().optional(),
  group: z.string().optional(),
});

function parseQuestion(row: unknown): Question {
  const question = rowSchema.parse(row);
  const answer = canonicalAnswer(question.answerType, question.answer);
  if (answer === null) {
    throw new UserError(
      `Expected 'answer' to be a ${question.answerType} but received ${JSON.stringify(question.answer)}`,
    );
  }
  const { dataset, group, ...rest } = question;
  return {
    ...rest,
    answer,
    ...(dataset === undefined ? {} : { dataset }),
    ...(group === undefined ? {} : { group }),
  };
}

/**
 * Reads questions from a JSONL file, in file order. Other keys than these, `dataset` and `group` are ignored.
 * @param limit at most this many; default all.
 * @throws {UserError} naming file and line for a malformed row, a duplicate id or an answer that is not of its type.
 */
export async function readQuestions(path: string, limit = Number.POSITIVE_INFINITY): Promise<Question[]> {
  const questions: Question[] = [];
  const lineOf = new Map<string, number>();
  for await (const { line, value } of readJsonl(path, parseQuestion)) {
    const earlier = lineOf.get(value.id);
    if (earlier !== undefined) {
      throw new UserError(
        `${path}:${line}: Expected 'id' to be unique but received '${value.id}' again (line ${earlier})`,
      );
    }
    lineOf.set(value.id, line);
    questions.push(value);
    if (questions.length >= limit) break;
  }
  return questions;
}
