/** What a person sees while a stage works: a bar on a terminal, a line now and then elsewhere. */
import { clearScreenDown } from 'node:readline';
import { SingleBar } from 'cli-progress';
import pc from 'picocolors';

export interface Meter {
  /** `done` more items, `tokens` more tokens. */
  advance(done: number, tokens?: number): void;
  /** More items than was said at first. */
  extend(total: number): void;
  finish(): void;
}

export interface Progress {
  /**
   * @param resumed how many of `total` were there before, not counted in the rate
   * @param state more to show while it works, in place of tokens/s
   */
  start(stage: string, total: number, resumed: number, unit: string, state?: () => string): Meter;
  note(line: string): void;
  /** Shows a stage's first full prompt, once per stage. */
  prompt(stage: string, text: string): void;
}

export const silentProgress: Progress = {
  start: () => ({ advance() {}, extend() {}, finish() {} }),
  note() {},
  prompt() {},
};

/** Seconds as `8s`, `3m 05s`, `2h 07m`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${String(whole % 60).padStart(2, '0')}s`;
  return `${Math.floor(whole / 3600)}h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')}m`;
}

/** Without a terminal: a line at the start, the end, and in between not more often than this. */
const secondsBetweenLines = 10;

/** Time and state go on where nothing is done for long, as while the first rows are all under way. */
function everySecond(show: () => void): { stop(): void } {
  const timer = setInterval(show, 1000);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** Writes to a stream: a bar with rate, tokens/s and time left where it is a terminal, else plain lines. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const shown = new Set<string>();
  const write = (line: string) => stream.write(`${line}\n`);
  return {
    note: write,
    prompt(stage, text) {
      if (shown.has(stage)) return;
      shown.add(stage);
      write(pc.dim(`first prompt of ${stage}:`));
      write(pc.dim(text.replace(/^/gm, '  │ ')));
    },
    start(stage, total, resumed, unit, state) {
      const count = new Count(total, resumed, unit, state ?? null);
      return stream.isTTY === true ? barMeter(stream, stage, count) : lineMeter(write, stage, count);
    },
  };
}

class Count {
  readonly begin = performance.now();
  readonly resumed: number;
  total: number;
  done: number;
  tokens = 0;
  readonly unit: string;
  readonly #state: (() => string) | null;

  constructor(total: number, resumed: number, unit: string, state: (() => string) | null) {
    this.total = total;
    this.resumed = resumed;
    this.unit = unit;
    this.#state = state;
    this.done = resumed;
  }

  get seconds(): number {
    return (performance.now() - this.begin) / 1000;
  }

  /** @param ended the work is over: tokens/s of all of it, no state */
  describe(ended = false): { rate: string; left: string; state: string } {
    const fresh = this.done - this.resumed;
    const rate = fresh / this.seconds;
    const state = this.#state === null || ended ? '' : ` · ${this.#state()}`;
    const tokens = this.tokens === 0 || state !== '' ? '' : `, ${Math.round(this.tokens / this.seconds)} tokens/s`;
    return {
      rate: fresh === 0 ? '…' : `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} ${this.unit}/s${tokens}`,
      left: fresh === 0 ? '…' : formatDuration((this.total - this.done) / rate),
      state,
    };
  }
}

function barMeter(stream: NodeJS.WriteStream, stage: string, count: Count): Meter {
  const bar = new SingleBar({
    stream,
    format: `${pc.cyan(stage.padEnd(24))} {bar} {value}/{total} · {rate} · {left} left{state}`,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    barsize: 24,
    hideCursor: false,
    clearOnComplete: false,
    gracefulExit: false,
  });
  bar.start(count.total, count.resumed, count.describe());
  const clock = everySecond(() => bar.update(count.done, count.describe()));
  return {
    advance(done, tokens = 0) {
      count.done += done;
      count.tokens += tokens;
      bar.update(count.done, count.describe());
    },
    extend(more) {
      count.total += more;
      bar.setTotal(count.total);
    },
    finish() {
      clock.stop();
      bar.update(count.done, { ...count.describe(true), left: '0s' });
      bar.stop(); // on the line below the one where the bar began: what others wrote there meanwhile goes
      clearScreenDown(stream);
    },
  };
}

function lineMeter(write: (line: string) => void, stage: string, count: Count): Meter {
  const { total, resumed, unit } = count;
  let last = performance.now();
  const line = (rate: string, rest: string) =>
    write(`${stage}: ${count.done}/${count.total} ${unit} · ${rate} · ${rest}`);
  const report = (): void => {
    last = performance.now();
    const { rate, left, state } = count.describe();
    line(rate, `${left} left${state}`);
  };
  write(`${stage}: ${total - resumed} ${unit}${resumed > 0 ? `, ${resumed} already there` : ''}`);
  const clock = everySecond(() => {
    if (performance.now() - last > secondsBetweenLines * 1000) report();
  });
  return {
    advance(done, tokens = 0) {
      count.done += done;
      count.tokens += tokens;
      if (performance.now() - last >= secondsBetweenLines * 1000) report();
    },
    extend(more) {
      count.total += more;
    },
    finish() {
      clock.stop();
      line(count.describe(true).rate, `took ${formatDuration(count.seconds)}`);
    },
  };
}
