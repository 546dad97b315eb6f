/**
 * How long texts are and how often they are usable: from rows that are there, else from priors. Both are given with how far
 * off they may be, so that what is reckoned from them can be an interval.
 */
import { UserError } from '../errors.js';
import type { AttemptRow } from './rounds.js';
import { RowFile } from './row_file.js';

/** Which end of their intervals the lengths, and the shares of usable rows, are taken at. */
export interface Assumption {
  length: 'low' | 'expected' | 'high';
  share: 'low' | 'expected' | 'high';
}

export interface Estimate {
  /** Tokens of texts: as they were seen, or a few that stand for all. */
  lengths: readonly number[];
  /** Factors on them. */
  length: Record<Assumption['length'], number>;
  /** Mean tokens of those that are usable: a text that was cut off is not. */
  usable: number;
  /** The most tokens that there can be. */
  cap: number;
  /** Share of usable rows at the first attempt. */
  share: Record<Assumption['share'], number>;
  /** Rows that it rests on; 0 for a prior. */
  rows: number;
  /** A prior in words; empty where there are rows. */
  assumed: string;
}

/** Rows that are read to know what they became. */
const sampledRows = 400;
/** Standard errors on either side: 95 % of cases. */
const deviations = 2;

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The lengths under an assumption. */
export function lengthsOf({ lengths, length, cap }: Estimate, { length: end }: Assumption): number[] {
  return lengths.map((tokens) => Math.min(cap, tokens * length[end]));
}

/** Mean length of what is usable, under an assumption. */
export function usableLength({ usable, length, cap }: Estimate, { length: end }: Assumption): number {
  return Math.min(cap, usable * length[end]);
}

/** What the rows of a file say, whatever settings they were made with; null where there are none. */
export function observe(path: string, cap: number): Estimate | null {
  const file = new RowFile<AttemptRow>(path, { readOnly: true });
  const keys = [...file.keys()];
  const step = Math.max(1, Math.floor(keys.length / sampledRows));
  const rows = keys.filter((_, index) => index % step === 0).map((key) => file.read(key));
  file.close();
  if (rows.length === 0) return null;
  const lengths = rows.map(({ completionTokens }) => completionTokens);
  const [average, count] = [mean(lengths), rows.length];
  const variance = mean(lengths.map((tokens) => (tokens - average) ** 2));
  const error = average === 0 ? 0 : (deviations * Math.sqrt(variance / count)) / average;
  const first = rows.filter(({ attempt }) => attempt === 1);
  const judged = first.length > 0 ? first : rows;
  const usable = mean(judged.map(({ ok }) => Number(ok)));
  const good = rows.filter(({ ok }) => ok).map(({ completionTokens }) => completionTokens);
  // One more of each kind, so that few rows that agree do not count as certain.
  const smoothed = (usable * judged.length + 1) / (judged.length + 2);
  const spread = deviations * Math.sqrt((smoothed * (1 - smoothed)) / judged.length);
  return {
    lengths,
    length: { low: Math.max(0, 1 - error), expected: 1, high: 1 + error },
    usable: mean(good.length > 0 ? good : lengths),
    cap,
    share: { low: Math.max(0, usable - spread), expected: usable, high: Math.min(1, usable + spread) },
    rows: keys.length,
    assumed: '',
  };
}

/** Of five texts of a model that was not trained to end so, one runs on: to four times the length, or to the cap. */
const [ending, all, runningOn] = [4, 5, 4];

/**
 * A prior.
 * @param tokens of a text that ends where it should
 * @param factor how many times longer or shorter it may well be
 * @param what its name, for the sentence that says what was assumed
 */
export function assume(
  what: string,
  tokens: number,
  factor: number,
  cap: number,
  share: Estimate['share'],
  runsOn = true,
): Estimate {
  if (!(tokens > 0)) throw new UserError(`Expected ${what} to have a length but received ${tokens} tokens`);
  const long = Math.min(cap, runningOn * tokens);
  const lengths = Array.from({ length: all }, (_, index) => (runsOn && index >= ending ? long : Math.min(cap, tokens)));
  const percent = (value: number) => Math.round(100 * value);
  const sure = share.low === share.high ? '' : `, ${percent(share.low)}–${percent(share.high)} % of them usable`;
  const [low, high] = [tokens / factor, tokens * factor].map((value) => Math.round(Math.min(cap, value)));
  return {
    lengths,
    length: { low: 1 / factor, expected: 1, high: factor },
    usable: Math.min(cap, tokens),
    cap,
    share,
    rows: 0,
    assumed: `${what} of ${low}–${high} tokens${sure}`,
  };
}
