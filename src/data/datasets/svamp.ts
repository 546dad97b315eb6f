/** SVAMP: the problem is in two columns; the answer is a decimal such as `145.0`. */
import { z } from 'zod';
import { defineAdapter } from './adapter.js';

export const svamp = defineAdapter(
  { hub: 'ChilleD/SVAMP', splits: { train: 'train', eval: 'test' } },
  { Body: z.string(), Question: z.string(), Answer: z.union([z.string(), z.number()]).transform(String) },
  () => (row) => {
    const body = row.Body.trim();
    // Some bodies end without a full stop and go on in the question.
    return { question: `${body} ${row.Question.trim()}`, answer: row.Answer, answerType: 'number' };
  },
);
