/** How long a batch takes to write: a step for one token of every running sequence, seats taken again as they become free. */

/** Seconds of a step: `base` for any, `perSequence` for each that runs. */
export interface StepTime {
  base: number;
  perSequence: number;
}

/** Rows that are followed one by one; of more, the first ones run at full width. */
const followed = 4096;

/** Spreads what stands for a distribution over so many rows, long and short ones mixed. */
function* spreadOver(lengths: readonly number[], rows: number): Generator<number> {
  const stride = 0.6180339887498949; // The golden ratio's part: any number of its multiples is spread evenly.
  const sorted = [...lengths].sort((a, b) => a - b);
  for (let row = 0; row < rows; row++) yield Math.ceil(sorted[Math.floor(((row * stride) % 1) * sorted.length)]!);
}

/**
 * Seconds for `rows` texts of the distribution `lengths` (tokens), of which at most `seats` are written at once. What is left at
 * the end runs in ever smaller batches.
 */
export function decodeSeconds(lengths: readonly number[], rows: number, seats: number, step: StepTime): number {
  const seconds = (running: number) => step.base + step.perSequence * running;
  const whole = Math.round(rows);
  const last = Math.min(whole, Math.max(followed, 8 * seats));
  const average = lengths.reduce((sum, tokens) => sum + tokens, 0) / lengths.length;
  let total = (((whole - last) * average) / seats) * seconds(seats);
  const waiting = spreadOver(lengths, last);
  const ends: number[] = []; // In steps, descending: the next one to end is the last.
  let now = 0;
  for (;;) {
    while (ends.length < seats) {
      const { value, done } = waiting.next();
      if (done === true) break;
      const end = now + value;
      const at = ends.findIndex((other) => other < end);
      ends.splice(at < 0 ? ends.length : at, 0, end);
    }
    const end = ends.pop();
    if (end === undefined) return total;
    total += (end - now) * seconds(ends.length + 1);
    now = end;
  }
}
