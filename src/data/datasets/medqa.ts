/** MedQA (USMLE, four options): options are a map from letter to text, the key a letter. */
import { z } from 'zod';
import { defineAdapter, multipleChoice } from './adapter.js';

export const medqa = defineAdapter(
  { hub: 'GBaker/MedQA-USMLE-4-options', splits: { train: 'train', eval: 'test' } },
  { question: z.string(), options: z.record(z.string(), z.string()), answer_idx: z.string() },
  () => (row) => {
    const letters = Object.keys(row.options).sort();
    return multipleChoice(
      row.question,
      letters.map((letter) => row.options[letter]!),
      letters.indexOf(row.answer_idx.trim()),
    );
  },
);
