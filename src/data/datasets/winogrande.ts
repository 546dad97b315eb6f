/** WinoGrande: a sentence with a blank `_`; the answer is `1` or `2`, empty in the test split. */
import { z } from 'zod';
import { defineAdapter, multipleChoice } from './adapter.js';

export const winogrande = defineAdapter(
  { hub: 'allenai/winogrande', config: 'winogrande_xl', splits: { train: 'train', eval: 'validation' } },
  {
    sentence: z.string().regex(/_/, 'with a blank `_`'),
    option1: z.string(),
    option2: z.string(),
    answer: z.union([z.string(), z.number()]).transform(String),
  },
  () => (row) =>
    multipleChoice(
      `Which option fills the blank?\n\n${row.sentence}`,
      [row.option1, row.option2],
      ['1', '2'].indexOf(row.answer),
    ),
);
