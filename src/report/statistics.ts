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

/**
 * A percentile interval of the mean of paired differences, each −1, 0 or 1, by resampling the pairs (Efron 1979). The
 * counts of a resample are what matters, so each is drawn as two binomials, by inversion with a seeded generator.
 * @returns the 2.5 % and 97.5 % quantiles; the difference itself where there are no pairs
 */
export function pairedBootstrap(
  onlyA: number,
  onlyB: number,
  count: number,
  { resamples = 2000, seed = 1 } = {},
): [low: number, high: number] {
  if (count === 0) return [Number.NaN, Number.NaN];
  const random = mulberry32(seed);
  const [shareA, shareB] = [onlyA / count, onlyB / count];
  const differences = new Float64Array(resamples);
  for (let index = 0; index < resamples; index++) {
    const a = binomial(count, shareA, random);
    const b = shareA >= 1 ? 0 : binomial(count - a, shareB / (1 - shareA), random);
    differences[index] = (a - b) / count;
  }
  differences.sort();
  const at = (share: number) => differences[Math.min(resamples - 1, Math.round(share * (resamples - 1)))]!;
  return [at(0.025), at(0.975)];
}

/** A 32-bit generator (Steele and Vigna's constants), in [0, 1). */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A binomial draw by skipping from success to success with geometric gaps: quick where successes are few. */
function binomial(count: number, probability: number, random: () => number): number {
  if (probability <= 0) return 0;
  if (probability >= 1) return count;
  if (probability > 0.5) return count - binomial(count, 1 - probability, random);
  const scale = Math.log1p(-probability);
  let successes = -1;
  for (let position = 0; position <= count; successes++) {
    position += Math.floor(Math.log(1 - random()) / scale) + 1;
  }
  return successes;
}
