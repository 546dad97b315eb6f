/** What a run is doing right now, in a small file of its folder: for `watch`, and for whoever looks at the folder. */
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import type { Progress } from './progress.js';

export interface LiveStage {
  pid: number;
  stage: string;
  unit: string;
  done: number;
  total: number;
  /** Items and tokens per second since the stage was started; null before the first one. */
  rate: number | null;
  tokensPerSecond: number | null;
  secondsLeft: number | null;
  /** What the engine or the trainer says of itself. */
  state: string | null;
  updated: string;
}

const millisecondsBetweenWrites = 1000;

/** Does what `progress` does, and keeps `path` up to date, at most once a second. @returns `clear` removes the file */
export function withLiveFile(path: string, progress: Progress): { progress: Progress; clear: () => void } {
  let last = 0;
  const write = (stage: LiveStage) => {
    try {
      writeFileSync(`${path}.tmp`, JSON.stringify(stage));
      renameSync(`${path}.tmp`, path);
    } catch {} // It only informs; a full disk is for the rows to say.
  };
  const live: Progress = {
    ...progress,
    start(stage, total, resumed, unit, state) {
      const meter = progress.start(stage, total, resumed, unit, state);
      const begin = performance.now();
      let [done, tokens, all] = [resumed, 0, total];
      const tell = (always: boolean) => {
        const now = performance.now();
        if (!always && now - last < millisecondsBetweenWrites) return;
        last = now;
        const seconds = (now - begin) / 1000;
        const fresh = done - resumed;
        const rate = fresh > 0 ? fresh / seconds : null;
        write({
          pid: process.pid,
          ...{ stage, unit, done, total: all, rate },
          tokensPerSecond: tokens > 0 ? tokens / seconds : null,
          secondsLeft: rate === null ? null : (all - done) / rate,
          state: state?.() ?? null,
          updated: new Date().toISOString(),
        });
      };
      tell(true);
      return {
        advance(more, moreTokens = 0) {
          done += more;
          tokens += moreTokens;
          meter.advance(more, moreTokens);
          tell(false);
        },
        extend(more) {
          all += more;
          meter.extend(more);
        },
        finish() {
          meter.finish();
          tell(true);
        },
      };
    },
  };
  return { progress: live, clear: () => rmSync(path, { force: true }) };
}
