/** A machine that slept: the monotonic clock, which all costs are measured with, stands still then; the wall clock does not. */
import { formatDuration } from './progress.js';

export interface Clocks {
  /** Milliseconds; stands still while the machine sleeps. */
  monotonic(): number;
  /** Milliseconds. */
  wall(): number;
}

const systemClocks: Clocks = { monotonic: () => performance.now(), wall: () => Date.now() };
const intervalMilliseconds = 5000;
/** Shorter gaps are a clock being set. */
const sleepMilliseconds = 30_000;

/** Says in one line when the machine has slept; the work goes on by itself, and what is measured leaves the sleep out. */
export function watchForSleep(note: (line: string) => void, clocks = systemClocks): { check(): void; stop(): void } {
  let last = { monotonic: clocks.monotonic(), wall: clocks.wall() };
  const check = () => {
    const now = { monotonic: clocks.monotonic(), wall: clocks.wall() };
    const slept = now.wall - last.wall - (now.monotonic - last.monotonic);
    last = now;
    if (slept > sleepMilliseconds)
      note(`The machine slept for ${formatDuration(slept / 1000)}; the work goes on, and rates leave the sleep out.`);
  };
  const timer = setInterval(check, intervalMilliseconds);
  timer.unref();
  return { check, stop: () => clearInterval(timer) };
}
