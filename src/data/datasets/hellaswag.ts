/** HellaSwag: the label is text, empty in the test split; texts from WikiHow carry marks such as `[header]`. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter, integer, multipleChoice } from './adapter.js';

const clean = (text: string): string =>
  text
    .replaceAll(' [title]', '. ')
    .replace(/\[[^\]]*\]/g, '')
    .replace(/ {2,}/g, ' ')
    .trim();

export const hellaswag = defineAdapter(
  { hub: 'Rowan/hellaswag', splits: { train: 'train', eval: 'validation' } },
  {
    ctx_a: z.string(),
    ctx_b: z.string(),
    activity_label: z.string(),
    endings: z.array(z.string()),
    label: z.union([integer, z.literal('')]),
  },
  () => (row) => {
    if (row.label === '') throw new UserError("Expected 'label' to be given; the test split has none, use validation");
    const context = `${row.ctx_a} ${row.ctx_b.charAt(0).toUpperCase()}${row.ctx_b.slice(1)}`;
    return multipleChoice(
      `Which ending continues the text best?\n\n${clean(`${row.activity_label}: ${context}`)}`,
      row.endings.map(clean),
      row.label,
    );
  },
);
