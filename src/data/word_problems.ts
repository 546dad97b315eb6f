/**
 * A seeded generator of arithmetic word problems.
 *
 * Train and eval never share a problem, whatever the seeds: a problem's numbers decide which split it belongs to
 * (a hash of template and numbers), so the same sum told with other names cannot appear on the other side.
 */
import { UserError } from '../errors.js';
import { Draws, hashToInteger } from './draws.js';
import type { Question } from './questions.js';
import { firstNames, type Template, templates, things } from './word_problem_templates.js';

export type Split = 'train' | 'eval';

/** One in five combinations of numbers is held out. */
const evalShare = 5;

function splitOf(template: Template, numbers: readonly number[]): Split {
  return hashToInteger('split', template.name, ...numbers) % evalShare === 0 ? 'eval' : 'train';
}

/** Gives up on a slot after this many draws of numbers that are taken, senseless or of the other split. */
const maxDraws = 2000;

/**
 * Word problems with integer answers. Question i depends on seed, split, levels and i, and on the ones before it only
 * in that no two have the same template and numbers: a longer list starts with the shorter one.
 * @param options.levels which difficulties are mixed; default all (1, 2, 3).
 * @throws {UserError} when there are not that many different problems.
 */
export function generateWordProblems(options: {
  split: Split;
  count: number;
  seed?: number;
  levels?: readonly number[];
}): Question[] {
  const { split, count, seed = 0, levels = [1, 2, 3] } = options;
  const usable = templates.filter((template) => levels.includes(template.level));
  if (usable.length === 0) {
    throw new UserError(`Expected 'levels' to name levels from 1 to 3 but received [${levels.join(', ')}]`);
  }
  const taken = new Set<string>();
  const questions: Question[] = [];
  for (let index = 0; index < count; index++) {
    const draws = new Draws('word problem', seed, split, index);
    let question: Question | null = null;
    for (let tries = 0; question === null && tries < maxDraws; tries++) {
      const template = draws.pick(usable);
      const numbers = template.ranges.map(([low, high]) => draws.integer(low, high));
      const key = `${template.name} ${numbers.join(' ')}`;
      if (taken.has(key) || splitOf(template, numbers) !== split || template.valid?.(numbers) === false) continue;
      taken.add(key);
      const name = draws.pick(firstNames);
      const other = draws.pick(firstNames.filter((candidate) => candidate !== name));
      question = {
        id: `arithmetic-${split}-${String(index + 1).padStart(5, '0')}`,
        question: template.text({ name, other, thing: draws.pick(things) }, numbers),
        answer: String(template.answer(numbers)),
        answerType: 'number',
        dataset: `arithmetic ${template.level}`,
      };
    }
    if (question === null) {
      throw new UserError(
        `Expected 'count' to be at most about ${index} different ${split} problems of levels [${levels.join(', ')}] ` +
          `but received ${count}; lower it, add levels, or read questions from a file`,
      );
    }
    questions.push(question);
  }
  return questions;
}
