import type { TokeniseProgress } from '../training/dataset.js';
import type { Meter, Progress } from './progress.js';

/** A meter for tokenising, once that takes longer than a moment. */
export function tokeniseMeter(progress: Progress, name = 'tokenise'): (state: TokeniseProgress) => void {
  const begin = performance.now();
  let meter: Meter | null = null;
  let [megabytes, tokens] = [0, 0];
  return (state) => {
    if (meter === null && performance.now() - begin < 1000) return;
    meter ??= progress.start(name, Math.ceil(state.totalBytes / 1e6), 0, 'MB');
    const now = Math.ceil(state.bytes / 1e6);
    meter.advance(now - megabytes, state.tokens - tokens);
    [megabytes, tokens] = [now, state.tokens];
    if (state.done) meter.finish();
  };
}
