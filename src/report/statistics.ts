/** The statistics of a report. */

/** NaN for no values. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Standard error of a mean of zeros and ones, from the sample variance (n − 1); 0 for fewer than two. */
export function proportionStandardError(proportion: number, count: number): number {
  return count < 2 ? 0 : Math.sqrt((proportion * (1 - proportion)) / (count - 1));
}

/**
 * McNemar's exact test of two classifiers on the same items, two-sided: under the null hypothesis, of the items that
 * just one gets right, each is right with probability ½ (McNemar 1947; exact binomial form).
 * @param onlyA items that a alone gets right; @param onlyB items that b alone gets right
 * @returns p in (0, 1]; 1 when the two never differ
 */
export function mcnemarExact(onlyA: number, onlyB: number): number {
  const count = onlyA + onlyB;
  const smaller = Math.min(onlyA, onlyB);
  // Terms C(n,k)/2ⁿ in logarithms: 2ⁿ overflows beyond n = 1023.
  let logTerm = -count * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= smaller; k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log(count - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * tail);
}

/** Holm's step-down correction: adjusted p-values in the order given (Holm 1979). */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, index) => index).sort((a, b) => pValues[a]! - pValues[b]!);
  const adjusted = new Array<number>(pValues.length);
  let largest = 0;
  for (const [rank, index] of order.entries()) {
    largest = Math.max(largest, Math.min(1, pValues[index]! * (pValues.length - rank)));
    adjusted[index] = largest;
  }
  return adjusted;
}
