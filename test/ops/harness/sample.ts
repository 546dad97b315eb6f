/** Sampling by the book: everything sorted, everything in f64. */
import { philox4x32 } from '../../../src/training/philox.js';

export interface SampleRow {
  logits: Float64Array;
  temperature: number;
  topP: number;
  minP: number;
  presencePenalty: number;
  frequencyPenalty: number;
  repetitionPenalty: number;
  topK: number;
  seed: readonly [low: number, high: number];
  outputIndex: number;
  prompt: readonly number[];
  output: readonly number[];
  bias: readonly (readonly [token: number, value: number])[];
  allowed: (token: number) => boolean;
}

/** log-softmax. */
export function logprobsOf(logits: Float64Array): Float64Array {
  const largest = Math.max(...logits);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  return logits.map((logit) => logit - largest - Math.log(sum));
}

/** The tokens in the order of falling logit, lowest id first among equals. */
export function ranking(logits: Float64Array): number[] {
  return [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b);
}

/** What the row's tokens may be, with their probabilities, in the order of their ids. */
export function distribution(row: SampleRow): Map<number, number> {
  const logits = Float64Array.from(row.logits);
  for (const [token, value] of row.bias) logits[token]! += value;
  for (const token of logits.keys()) if (!row.allowed(token)) logits[token] = -Infinity;
  for (const token of new Set([...row.prompt, ...row.output])) {
    const logit = logits[token]!;
    logits[token] = logit > 0 ? logit / row.repetitionPenalty : logit * row.repetitionPenalty;
  }
  for (const token of new Set(row.output)) {
    const count = row.output.filter((other) => other === token).length;
    logits[token]! -= row.frequencyPenalty * count + row.presencePenalty;
  }
  const order = ranking(logits);
  if (logits[order[0]!] === -Infinity) return new Map();
  if (row.temperature <= 0) return new Map([[order[0]!, 1]]);

  const best = logits[order[0]!]!;
  const weight = (token: number): number => Math.exp((logits[token]! - best) / row.temperature);
  let kept = row.topK > 0 ? order.slice(0, row.topK) : order;
  if (row.topP < 1) {
    const total = kept.reduce((sum, token) => sum + weight(token), 0);
    let share = 0;
    let length = 0;
    do share += weight(kept[length++]!) / total;
    while (length < kept.length && share < row.topP);
    kept = kept.slice(0, length);
  }
  kept = kept.filter((token) => weight(token) > 0 && weight(token) >= row.minP).sort((a, b) => a - b);
  const total = kept.reduce((sum, token) => sum + weight(token), 0);
  return new Map(kept.map((token) => [token, weight(token) / total]));
}

/** Philox's purpose 'sample': "SAMP". */
const purpose = 0x53414d50;

export function sampleRow(row: SampleRow): number {
  const [high, low] = philox4x32([0, 0, row.outputIndex >>> 0, purpose], [row.seed[0] >>> 0, row.seed[1] >>> 0]);
  const uniform = ((high >>> 5) * 2 ** 26 + (low >>> 6)) / 2 ** 53;
  let share = 0;
  let token = -1;
  for (const [candidate, probability] of distribution(row)) {
    token = candidate;
    share += probability;
    if (share > uniform) break;
  }
  return token;
}
