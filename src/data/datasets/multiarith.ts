/** MultiArith. */
import { z } from 'zod';
import { defineAdapter } from './adapter.js';

export const multiarith = defineAdapter(
  { hub: 'ChilleD/MultiArith', splits: { train: 'train', eval: 'test' } },
  { question: z.string(), final_ans: z.union([z.string(), z.number()]).transform(String) },
  () => (row) => ({ question: row.question.trim(), answer: row.final_ans, answerType: 'number' }),
);
