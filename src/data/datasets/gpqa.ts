/** GPQA Diamond: the right option has a column of its own, so the order is ours: shuffled, and kept with the question. */
import { z } from 'zod';
import { defineAdapter, shuffledChoice } from './adapter.js';

const option = z.union([z.string(), z.number()]).transform(String);

export const gpqa = defineAdapter(
  { hub: 'Idavidrein/gpqa', config: 'gpqa_diamond', splits: { train: 'train', eval: null } },
  {
    Question: z.string(),
    'Correct Answer': option,
    'Incorrect Answer 1': option,
    'Incorrect Answer 2': option,
    'Incorrect Answer 3': option,
  },
  () => (row, seed) =>
    shuffledChoice(
      row.Question,
      [row['Correct Answer'], row['Incorrect Answer 1'], row['Incorrect Answer 2'], row['Incorrect Answer 3']],
      0,
      seed,
    ),
);
