// The learning rate over a run: linear warm-up from 0, then a half cosine to 0 (or constant).

export type ScheduleName = 'cosine' | 'constant';

export interface Schedule {
  readonly name: ScheduleName;
  /** T: optimizer steps in the whole run. */
  readonly totalSteps: number;
  /** w: steps of warm-up, floor(warmupRatio · T). */
  readonly warmupSteps: number;
  /** Factor of the learning rate for step t = 0 … T−1. */
  factor(step: number): number;
}

/**
 * t < w: t / w, so that with a warm-up the first update has rate 0 (as in transformers' `get_cosine_schedule_with_warmup`);
 * else cosine: ½ (1 + cos(π (t − w) / (T − w))), constant: 1.
 */
export function createSchedule(name: ScheduleName, totalSteps: number, warmupRatio: number): Schedule {
  if (!Number.isInteger(totalSteps) || totalSteps < 1) {
    throw new RangeError(`Expected 'totalSteps' to be an integer ≥ 1 but received ${totalSteps}`);
  }
  if (!(warmupRatio >= 0 && warmupRatio <= 1)) {
    throw new RangeError(`Expected 'warmupRatio' to be between 0 and 1 but received ${warmupRatio}`);
  }
  const warmupSteps = Math.floor(warmupRatio * totalSteps);
  const factor = (step: number): number => {
    if (step < warmupSteps) return step / warmupSteps;
    if (name === 'constant') return 1;
    return 0.5 * (1 + Math.cos((Math.PI * (step - warmupSteps)) / (totalSteps - warmupSteps)));
  };
  return { name, totalSteps, warmupSteps, factor };
}
