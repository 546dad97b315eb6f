/** MMLU: the answer counts from 0. Every question carries its subject as its group; a study can take some subjects. */
import { z } from 'zod';
import { defineAdapter, integer, multipleChoice } from './adapter.js';

export const mmlu = defineAdapter(
  { hub: 'cais/mmlu', config: 'all', splits: { train: 'dev', eval: 'test' } },
  { question: z.string(), subject: z.string(), choices: z.array(z.string()), answer: integer },
  () => (row) => ({ ...multipleChoice(row.question, row.choices, row.answer), group: row.subject }),
);

/** The benchmark's own four categories (Hendrycks et al., 2021), and the medical subjects of the paper. */
// biome-ignore format: lists of words
export const mmluGroups = {
  stem: [
    'abstract_algebra', 'astronomy', 'college_biology', 'college_chemistry', 'college_computer_science',
    'college_mathematics', 'college_physics', 'computer_security', 'conceptual_physics', 'electrical_engineering',
    'elementary_mathematics', 'high_school_biology', 'high_school_chemistry', 'high_school_computer_science',
    'high_school_mathematics', 'high_school_physics', 'high_school_statistics', 'machine_learning',
  ],
  humanities: [
    'formal_logic', 'high_school_european_history', 'high_school_us_history', 'high_school_world_history',
    'international_law', 'jurisprudence', 'logical_fallacies', 'moral_disputes', 'moral_scenarios', 'philosophy',
    'prehistory', 'professional_law', 'world_religions',
  ],
  social_sciences: [
    'econometrics', 'high_school_geography', 'high_school_government_and_politics', 'high_school_macroeconomics',
    'high_school_microeconomics', 'high_school_psychology', 'human_sexuality', 'professional_psychology',
    'public_relations', 'security_studies', 'sociology', 'us_foreign_policy',
  ],
  other: [
    'anatomy', 'business_ethics', 'clinical_knowledge', 'college_medicine', 'global_facts', 'human_aging',
    'management', 'marketing', 'medical_genetics', 'miscellaneous', 'nutrition', 'professional_accounting',
    'professional_medicine', 'virology',
  ],
  /** The seven whose test questions number the paper's 1,417; they are part of `other`. */
  medical: [
    'anatomy', 'clinical_knowledge', 'college_medicine', 'medical_genetics', 'nutrition', 'professional_medicine',
    'virology',
  ],
} as const;
