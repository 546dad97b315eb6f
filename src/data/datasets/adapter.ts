/** What turns a row of a published dataset into a question, and the pieces that several of them share. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { Draws } from '../draws.js';
import type { AnswerType } from '../questions.js';

/** A question before its answer is checked and its id is made unique. */
export interface Draft {
  /** The row's own id, where it has one. */
  id?: string;
  question: string;
  answer: string;
  answerType: AnswerType;
  /** A part of the dataset that is reported on its own, such as a subject of MMLU. */
  group?: string;
  /** Where options were shuffled: the option shown at place i stood at `order[i]`. */
  order?: number[];
}

export interface DatasetAdapter {
  /** Where it is on the Hugging Face Hub. */
  hub: string;
  /** The configuration to take where a folder holds several; none: any file. */
  config?: string;
  /** Which splits have answers, by what a study uses them for; null where there is none for that. */
  splits: { train: string | null; eval: string | null };
  /** The columns that a row must have. */
  columns: readonly string[];
  /**
   * Looks at all rows of the split, where that is needed to read one of them, and gives the function that does.
   * @param seed of what is shuffled
   * @throws {UserError} what is wrong with the row, on one line
   */
  open(rows: readonly unknown[]): (row: unknown, seed: number) => Draft;
}

/** Defines an adapter: rows are checked by `row` before `open` or what it returns sees them. */
export function defineAdapter<Shape extends z.ZodRawShape>(
  facts: Pick<DatasetAdapter, 'hub' | 'config' | 'splits'>,
  shape: Shape,
  open: (rows: readonly unknown[]) => (row: z.output<z.ZodObject<Shape>>, seed: number) => Draft,
): DatasetAdapter {
  const schema = z.object(shape);
  return {
    ...facts,
    columns: Object.keys(shape),
    open: (rows) => {
      const read = open(rows);
      return (row, seed) => read(schema.parse(row), seed);
    },
  };
}

/** A number that some files hold as text. */
export const integer = z.union([z.number().int(), z.string().regex(/^-?\d+$/)]).transform(Number);

/** Most options that extraction reads: A–P. */
const mostOptions = 16;
const letterOf = (index: number): string => String.fromCharCode(65 + index);

/**
 * A question with lettered options, `A. …`, one a line, and what kind of answer is asked for.
 * @param gold index of the right option in `options`
 * @throws {UserError} when there are not 2 to 16 options or `gold` is none of them
 */
export function multipleChoice(stem: string, options: readonly string[], gold: number): Draft {
  if (options.length < 2 || options.length > mostOptions) {
    throw new UserError(`Expected 2 to ${mostOptions} options but received ${options.length}`);
  }
  if (!Number.isInteger(gold) || gold < 0 || gold >= options.length) {
    throw new UserError(
      `Expected the right answer to be one of the ${options.length} options but received ${gold}; a split without answers cannot be used`,
    );
  }
  const lines = options.map((option, index) => `${letterOf(index)}. ${option.trim()}`);
  return {
    question: `${stem.trim()}\n\n${lines.join('\n')}\n\nAnswer with the letter of the right option.`,
    answer: letterOf(gold),
    answerType: 'letter',
  };
}

/** As `multipleChoice`, with the options in an order that depends on `seed` and the question alone, and is kept. */
export function shuffledChoice(stem: string, options: readonly string[], gold: number, seed: number): Draft {
  const draws = new Draws('options', seed, stem);
  const order = options.map((_, index) => index);
  for (let last = order.length - 1; last > 0; last--) {
    const other = draws.integer(0, last);
    [order[last], order[other]] = [order[other]!, order[last]!];
  }
  const shuffled = order.map((index) => options[index]!);
  return { ...multipleChoice(stem, shuffled, order.indexOf(gold)), order };
}
