/** PIQA: two ways to reach a goal; the label counts from 0, and is -1 in the test split. */
import { z } from 'zod';
import { defineAdapter, integer, multipleChoice } from './adapter.js';

export const piqa = defineAdapter(
  { hub: 'ybisk/piqa', splits: { train: 'train', eval: 'validation' } },
  { goal: z.string(), sol1: z.string(), sol2: z.string(), label: integer },
  () => (row) =>
    multipleChoice(`Which way reaches the goal?\n\nGoal: ${row.goal.trim()}`, [row.sol1, row.sol2], row.label),
);
