/** AQuA-RAT: options are strings that carry their own letter, `A)125`, sometimes without a space or with one. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter, multipleChoice } from './adapter.js';

export const aquaRat = defineAdapter(
  { hub: 'deepmind/aqua_rat', config: 'raw', splits: { train: 'train', eval: 'test' } },
  { question: z.string(), options: z.array(z.string()), correct: z.string() },
  () => (row) => {
    const options = row.options.map((option) => /^\s*([A-Z])\s*\)\s*(.*)$/s.exec(option));
    const broken = options.indexOf(null);
    if (broken >= 0) {
      throw new UserError(`Expected 'options' like 'A)125' but received ${JSON.stringify(row.options[broken])}`);
    }
    const gold = options.findIndex((option) => option![1] === row.correct.trim());
    return multipleChoice(
      row.question,
      options.map((option) => option![2]!),
      gold,
    );
  },
);
