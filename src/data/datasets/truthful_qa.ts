/** TruthfulQA, one right option: it always stands first, so the order is ours: shuffled, and kept with the question. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter, integer, shuffledChoice } from './adapter.js';

export const truthfulQa = defineAdapter(
  { hub: 'truthfulqa/truthful_qa', config: 'multiple_choice', splits: { train: null, eval: 'validation' } },
  { question: z.string(), mc1_targets: z.object({ choices: z.array(z.string()), labels: z.array(integer) }) },
  () => (row, seed) => {
    const { choices, labels } = row.mc1_targets;
    const gold = labels.indexOf(1);
    if (labels.length !== choices.length || labels.indexOf(1, gold + 1) >= 0) {
      throw new UserError(
        `Expected 'mc1_targets.labels' to hold one 1 and a label per choice but received [${labels}]`,
      );
    }
    return shuffledChoice(row.question, choices, gold, seed);
  },
);
