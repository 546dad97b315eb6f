/** CommonsenseQA; the test split has empty keys, so the validation split is what is evaluated. */
import { z } from 'zod';
import { defineAdapter, multipleChoice } from './adapter.js';
import { labelledChoices } from './arc.js';

export const commonsenseQa = defineAdapter(
  { hub: 'tau/commonsense_qa', splits: { train: 'train', eval: 'validation' } },
  { id: z.string(), question: z.string(), choices: labelledChoices, answerKey: z.string() },
  () => (row) => ({
    id: row.id,
    ...multipleChoice(row.question, row.choices.text, row.choices.label.indexOf(row.answerKey)),
  }),
);
