/** MedExpQA: options "1" to "5", of which the fifth is null in many rows; the key counts from 1. */
import { z } from 'zod';
import { defineAdapter, integer, multipleChoice } from './adapter.js';

export const medexpqa = defineAdapter(
  { hub: 'HiTZ/MedExpQA', config: 'en', splits: { train: 'train', eval: 'test' } },
  {
    full_question: z.string(),
    options: z.record(z.string(), z.string().nullable()),
    correct_option: integer,
  },
  () => (row) => {
    const present = Object.keys(row.options)
      .filter((key) => (row.options[key] ?? '').trim() !== '')
      .sort((a, b) => Number(a) - Number(b));
    return multipleChoice(
      row.full_question,
      present.map((key) => row.options[key]!),
      present.indexOf(String(row.correct_option)),
    );
  },
);
