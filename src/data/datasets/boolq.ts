/** BoolQ as in SuperGLUE: label 0 is no and 1 is yes, -1 in the test split. */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter, integer } from './adapter.js';

export const boolq = defineAdapter(
  { hub: 'aps/super_glue', config: 'boolq', splits: { train: 'train', eval: 'validation' } },
  { question: z.string(), passage: z.string(), label: integer },
  () => (row) => {
    if (row.label !== 0 && row.label !== 1) {
      throw new UserError(`Expected 'label' to be 0 or 1 but received ${row.label}; the test split has no answers`);
    }
    const question = row.question.trim().replace(/\??$/, '?');
    return {
      question: `${row.passage.trim()}\n\n${question.charAt(0).toUpperCase()}${question.slice(1)} Answer yes or no.`,
      answer: row.label === 1 ? 'true' : 'false',
      answerType: 'boolean',
    };
  },
);
