/** GSM8K: the answer column is a solution with calculator marks `<<3*4=12>>` that ends in `#### 12`. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter } from './adapter.js';

export const gsm8k = defineAdapter(
  { hub: 'openai/gsm8k', config: 'main', splits: { train: 'train', eval: 'test' } },
  { question: z.string(), answer: z.string() },
  () => (row) => {
    const mark = row.answer.lastIndexOf('####');
    if (mark < 0) throw new UserError("Expected 'answer' to end in '#### RESULT'");
    return { question: row.question, answer: row.answer.slice(mark + 4).trim(), answerType: 'number' };
  },
);
