/** The study's questions, and a record of them in the run folder. */

import { readDataset } from '../data/datasets/read.js';
import { type Question, readQuestions } from '../data/questions.js';
import { generateWordProblems, type Split } from '../data/word_problems.js';
import { UserError } from '../errors.js';
import type { QuestionSource } from './config.js';
import type { StudyContext } from './context.js';
import { writePiecesAtomically } from './files.js';

export interface StudyQuestions {
  train: Question[];
  eval: Question[];
}

async function load(source: QuestionSource, split: Split, seed: number): Promise<Question[]> {
  const { count, file, dataset, path, split: part, subjects } = source;
  if (file !== undefined) return readQuestions(file, count);
  if (dataset !== undefined) {
    return readDataset({
      dataset,
      path: path!,
      use: split,
      seed,
      ...(part === undefined ? {} : { split: part }),
      ...(count === undefined ? {} : { count }),
      ...(subjects === undefined ? {} : { subjects }),
    });
  }
  const levels = source.levels === undefined ? {} : { levels: source.levels };
  return generateWordProblems({ split, count: count!, seed, ...levels });
}

/** @throws {UserError} when two sources have a question of the same id, or there is none at all */
async function loadAll(sources: readonly QuestionSource[], split: Split, seed: number): Promise<Question[]> {
  const questions: Question[] = [];
  const ids = new Set<string>();
  for (const source of sources) {
    for (const question of await load(source, split, seed)) {
      if (ids.has(question.id)) {
        throw new UserError(
          `Expected 'questions.${split}' to hold every id once but received '${question.id}' from two sources; rename or remove one`,
        );
      }
      ids.add(question.id);
      questions.push(question);
    }
  }
  if (questions.length === 0) {
    const where = sources.map((source) => source.file ?? source.path).join(', ');
    throw new UserError(`Expected 'questions.${split}' to hold questions but ${where} has none`);
  }
  return questions;
}

/** @throws {UserError} when a split is empty, or a question to be trained on is evaluated too */
export async function loadQuestions(context: StudyContext): Promise<StudyQuestions> {
  const { questions, seed } = context.config;
  const loaded = {
    train: await loadAll(questions.train, 'train', seed),
    eval: await loadAll(questions.eval, 'eval', seed),
  };
  const trained = new Map(loaded.train.map((question) => [question.question, question.id]));
  const leaked = loaded.eval.find((question) => trained.has(question.question));
  if (leaked !== undefined) {
    throw new UserError(
      `Expected 'questions.eval' to hold no question of 'questions.train' but '${leaked.id}' is '${trained.get(leaked.question)}' there; remove one of them`,
    );
  }
  if (context.folder.readOnly) return loaded;
  for (const split of ['train', 'eval'] as const) {
    const lines = loaded[split].map((question) => `${JSON.stringify(question)}\n`);
    writePiecesAtomically(context.folder.file('questions', `${split}.jsonl`), lines);
  }
  return loaded;
}
