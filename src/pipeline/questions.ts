/** The study's questions, and a record of them in the run folder. */

import { type Question, readQuestions } from '../data/questions.js';
import { generateWordProblems, type Split } from '../data/word_problems.js';
import { UserError } from '../errors.js';
import type { QuestionSource } from './config.js';
import type { StudyContext } from './context.js';
import { writeFileAtomically } from './row_file.js';

export interface StudyQuestions {
  train: Question[];
  eval: Question[];
}

async function load(source: QuestionSource, split: Split, seed: number): Promise<Question[]> {
  if (source.file !== undefined) return readQuestions(source.file, source.count);
  const levels = source.levels === undefined ? {} : { levels: source.levels };
  return generateWordProblems({ split, count: source.count!, seed, ...levels });
}

/** @throws {UserError} when a split is empty, or a question to be trained on is evaluated too */
export async function loadQuestions(context: StudyContext): Promise<StudyQuestions> {
  const { questions, seed } = context.config;
  const loaded = { train: await load(questions.train, 'train', seed), eval: await load(questions.eval, 'eval', seed) };
  for (const split of ['train', 'eval'] as const) {
    if (loaded[split].length > 0) continue;
    throw new UserError(`Expected 'questions.${split}.file' to hold questions but ${questions[split].file} has none`);
  }
  const trained = new Map(loaded.train.map((question) => [question.question, question.id]));
  const leaked = loaded.eval.find((question) => trained.has(question.question));
  if (leaked !== undefined) {
    throw new UserError(
      `Expected 'questions.eval' to hold no question of 'questions.train' but '${leaked.id}' is '${trained.get(leaked.question)}' there; remove one of them`,
    );
  }
  for (const split of ['train', 'eval'] as const) {
    const text = loaded[split].map((question) => `${JSON.stringify(question)}\n`).join('');
    writeFileAtomically(context.folder.file('questions', `${split}.jsonl`), text);
  }
  return loaded;
}
