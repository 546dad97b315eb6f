/** Reads a published dataset from local files as questions. */
import { z } from 'zod';
import { didYouMean, UserError } from '../../errors.js';
import { canonicalAnswer } from '../answers.js';
import { hashToInteger } from '../draws.js';
import type { Question } from '../questions.js';
import type { DatasetAdapter, Draft } from './adapter.js';
import { mmluGroups } from './mmlu.js';
import { type DatasetName, datasetAdapter } from './registry.js';
import { readRows, splitFiles } from './rows.js';

export interface DatasetSource {
  dataset: DatasetName;
  /** A file, or a folder with one or more files for the split, as a download from the Hub has them. */
  path: string;
  /** What the questions are for; decides the default split. */
  use: 'train' | 'eval';
  /** Default: the dataset's training split, or the one with answers that it is evaluated on. */
  split?: string;
  /** At most this many, drawn by `seed`; a larger count holds those of a smaller one. Default: all. */
  count?: number;
  /** Subjects or categories (`stem`, `medical`, …) of MMLU. Default: all. */
  subjects?: readonly string[];
  /** Decides which questions `count` draws, and the order of options that the dataset itself does not order. */
  seed: number;
}

function reason(error: unknown): string {
  if (!(error instanceof z.ZodError)) return error instanceof Error ? error.message : String(error);
  const issue = error.issues[0]!;
  return `Expected a valid '${issue.path.join('.')}': ${issue.message}`;
}

function remedy(name: string, { hub, config, columns }: DatasetAdapter): string {
  const variant = config === undefined ? '' : `, configuration ${config}`;
  return `get '${name}' from the Hugging Face Hub (dataset ${hub}${variant}) as parquet, JSONL or JSON with the columns ${columns.join(', ')}`;
}

/** The subjects that are meant, categories expanded; null for all. */
function wantedSubjects(subjects: readonly string[] | undefined): Set<string> | null {
  if (subjects === undefined) return null;
  const groups: Record<string, readonly string[]> = mmluGroups;
  const known = Object.values(groups).flat();
  const unknown = subjects.find((subject) => !(subject in groups) && !known.includes(subject));
  if (unknown !== undefined) {
    const hint = didYouMean(unknown, [...Object.keys(groups), ...known]);
    throw new UserError(
      `Expected 'subjects' to name subjects of MMLU or ${Object.keys(groups).join(', ')} but received '${unknown}'${hint}`,
    );
  }
  return new Set(subjects.flatMap((subject) => groups[subject] ?? [subject]));
}

/**
 * Questions in the order of the files.
 * @throws {UserError} naming file and row of what cannot be read; for a missing file, where the data is to be had.
 */
export async function readDataset(source: DatasetSource): Promise<Question[]> {
  const { dataset, path, use, seed, count = Number.POSITIVE_INFINITY } = source;
  const adapter = datasetAdapter(dataset);
  const split = source.split ?? adapter.splits[use];
  if (split === null) {
    throw new UserError(
      `Expected 'split' to be given for '${dataset}', which has no split for ${use === 'train' ? 'training' : 'evaluation'}`,
    );
  }
  const wanted = wantedSubjects(source.subjects);
  const files = await splitFiles(path, split, adapter.config);
  if (files.length === 0) {
    throw new UserError(`Expected '${path}' to hold the split '${split}' but found none; ${remedy(dataset, adapter)}`);
  }
  const rows: { row: unknown; where: string }[] = [];
  for (const file of files) {
    for (const [index, row] of (await readRows(file)).entries()) rows.push({ row, where: `${file}: row ${index + 1}` });
  }
  const lacking = adapter.columns.find((column) => rows.length > 0 && !Object.hasOwn(Object(rows[0]!.row), column));
  if (lacking !== undefined) {
    throw new UserError(`Expected '${files[0]}' to have a column '${lacking}'; ${remedy(dataset, adapter)}`);
  }
  const read = adapter.open(rows.map(({ row }) => row));
  const questions: Question[] = [];
  const seen = new Map<string, number>();
  for (const [index, { row, where }] of rows.entries()) {
    let draft: Draft;
    let answer: string | null;
    try {
      draft = read(row, seed);
      answer = canonicalAnswer(draft.answerType, draft.answer);
    } catch (error) {
      throw new UserError(`${where}: ${reason(error)}`);
    }
    if (answer === null) {
      throw new UserError(
        `${where}: Expected the answer to be a ${draft.answerType} but received ${JSON.stringify(draft.answer)}`,
      );
    }
    if (wanted !== null && !wanted.has(draft.group ?? '')) continue;
    const id = `${dataset}-${draft.id ?? `${split}-${index + 1}`}`;
    const again = seen.get(id) ?? 0;
    seen.set(id, again + 1);
    questions.push({ ...draft, id: again === 0 ? id : `${id}-${again + 1}`, answer, dataset });
  }
  return draw(questions, count, seed);
}

/** The `count` questions whose hash is lowest, in their order: so a sample grows without losing any. */
function draw(questions: Question[], count: number, seed: number): Question[] {
  if (questions.length <= count) return questions;
  const ranked = questions
    .map((question, index) => ({ index, rank: hashToInteger('sample', seed, question.id) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index);
  const chosen = new Set(ranked.slice(0, count).map(({ index }) => index));
  return questions.filter((_, index) => chosen.has(index));
}
