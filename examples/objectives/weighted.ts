// A cross-entropy in which every trained token has a weight of its own. Rows of the training data:
//   {"messages": […], "weights": [0.2, 1, …]}     one number for each trained token; `inspect` shows them
// and in the training file:
//   objective: examples/objectives/weighted.ts
import type { Objective, ObjectiveRow } from 'compress-distill';

interface Data {
  weights: number[];
}

/** Called for every row before training starts. */
export function checkRow({ data, trained }: ObjectiveRow<Data>): void {
  const { weights } = data;
  if (!Array.isArray(weights) || weights.length !== trained)
    throw new Error(`Expected 'weights' to hold ${trained} numbers but received ${JSON.stringify(weights)}`);
}

/** Σ weight · (−log p) over Σ weight. The totals are the window's, so accumulation and ranks change nothing. */
const objective: Objective<Data> = ({ tokenLogprobs, perToken, window }, { mul, scale, sum }) => {
  const total = window.rows.flatMap(({ data, trained }) => data.weights.slice(0, trained)).reduce((a, b) => a + b, 0);
  const weights = perToken(({ data }, nth) => data.weights[nth]! / total);
  return scale(sum(mul(tokenLogprobs(), weights)), -1);
};

export default objective;
