/** ARC: a question's labels may be 1–4 or A–E rather than A–D; the key is one of its own labels. */
import { z } from 'zod';
import { type DatasetAdapter, defineAdapter, multipleChoice } from './adapter.js';

/** As ARC and CommonsenseQA have them: two lists of one length. */
export const labelledChoices = z
  .object({ text: z.array(z.string()), label: z.array(z.string()) })
  .refine(({ text, label }) => text.length === label.length, 'as many labels as texts');

const arc = (config: string): DatasetAdapter =>
  defineAdapter(
    { hub: 'allenai/ai2_arc', config, splits: { train: 'train', eval: 'test' } },
    { id: z.string(), question: z.string(), choices: labelledChoices, answerKey: z.string() },
    () => (row) => ({
      id: row.id,
      ...multipleChoice(row.question, row.choices.text, row.choices.label.indexOf(row.answerKey)),
    }),
  );

export const arcChallenge = arc('ARC-Challenge');
export const arcEasy = arc('ARC-Easy');
