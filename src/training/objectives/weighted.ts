// Objectives that weight the cross-entropy of each token by something known beforehand: one fused pass, no logits kept.

import { z } from 'zod';
import { crossEntropy } from '../../ops/cross_entropy.js';
import { Tensor } from '../../tensor/tensor.js';
import { parseStrict } from '../strict_schema.js';
import type { CheckRow, Objective, ObjectiveRow } from './objective.js';

/** The mean of −log p over the trained tokens. */
export const crossEntropyObjective: Objective = ({ hidden, outputWeight, targets, window }) =>
  crossEntropy(hidden, outputWeight, targets, Tensor.full(hidden.device, targets.shape, 1 / window.trained));

interface Weights {
  readonly weight?: number;
  readonly weights?: readonly number[];
}

/**
 * Σ weight · (−log p) over the number of trained tokens. A row's `weight` is for all its tokens (an advantage, say),
 * `weights` has one for each trained token; both multiply. Weights of 1 are plain cross-entropy; a negative weight
 * makes its tokens less likely.
 */
export const weightedObjective: Objective = ({ hidden, outputWeight, targets, window, perToken }) =>
  crossEntropy(
    ...([hidden, outputWeight, targets] as const),
    perToken(({ data }, nth) => {
      const { weight = 1, weights } = data as Weights;
      return (weight * (weights ? weights[nth]! : 1)) / window.trained;
    }),
  );

const weightsSchema = z
  .looseObject({ weight: z.number().optional(), weights: z.array(z.number()).optional() })
  .refine(({ weight, weights }) => weight !== undefined || weights !== undefined, {
    message: "an object with 'weight' (a number) or 'weights' (one for each trained token)",
  });

export const checkWeights: CheckRow = ({ data, trained }) => {
  const { weights } = parseStrict(weightsSchema, data);
  if (weights) expectPerTrainedToken('weights', weights, trained);
};

/** @throws unless `values` has one entry for each trained token of its row */
export function expectPerTrainedToken(key: string, values: readonly unknown[], trained: number): void {
  if (values.length !== trained)
    throw new Error(
      `Expected '${key}' to have an entry for each of the ${trained} trained tokens but received ${values.length}; \`compress-distill inspect\` shows them`,
    );
}

/** Options of `length-weighted`. */
export const lengthOptions = z.strictObject({
  /** a: a token of a row with n trained tokens weighs n⁻ᵃ. 0: all tokens alike; 1 (default): all rows alike. */
  exponent: z.number().min(0).default(1),
});

/** The mean of −log p over the trained tokens of the window, weighted by n⁻ᵃ in a row of n, so that long answers count less. */
export const lengthWeightedObjective: Objective = ({ hidden, outputWeight, targets, window, options, perToken }) => {
  const { exponent } = options as z.output<typeof lengthOptions>;
  const weight = ({ trained }: ObjectiveRow) => trained ** -exponent;
  const total = window.rows.reduce((sum, row) => sum + row.trained * weight(row), 0);
  return crossEntropy(
    hidden,
    outputWeight,
    targets,
    perToken((row) => weight(row) / total),
  );
};
