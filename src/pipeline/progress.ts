/** What a person sees while a stage works: a bar on a terminal, a line now and then elsewhere. */
import { clearLine, clearScreenDown, cursorTo } from 'node:readline';
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
  /** Shows a stage's first full prompt, once per stage; not again where another stage asks the same. */
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
  const prompted = new Set<string>();
  const bar: Shown = { redraw: null };
  const write = (line: string) => {
    if (bar.redraw !== null) {
      cursorTo(stream, 0);
      clearLine(stream, 0);
    }
    stream.write(`${line}\n`);
    bar.redraw?.();
  };
  return {
    note: write,
    prompt(stage, text) {
      if (prompted.has(stage) || prompted.has(text)) return;
      prompted.add(stage).add(text);
      write(pc.dim(`first prompt of ${stage}:`));
      write(pc.dim(text.replace(/^/gm, '  │ ')));
    },
    start(stage, total, resumed, unit, state) {
      const count = new Count(total, resumed, unit, state ?? null);
      return stream.isTTY === true ? barMeter(stream, stage, count, bar) : lineMeter(write, stage, count);
    },
  };
}

interface Description {
  rate: string;
  left: string;
  state: string;
}

/** The bar that is on the screen: whoever writes a line draws it again below. */
interface Shown {
  redraw: (() => void) | null;
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
  describe(ended = false): Description {
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

/** Widths of the bar: at its best, and the least that still says something. */
const [wideBar, narrowBar] = [24, 6];
/** Of a stage's name: the column that it is set in where there is room, and the least that still says which stage it is. */
const [nameColumn, leastName] = [24, 18];

/** The bar's line: where it does not fit, first the bar gets shorter, then the name, then the bar goes, at last the end. */
export function barLine(columns: number, name: string, facts: string, progress: number): string {
  const room = columns - 1 - facts.length;
  if (room < leastName + 1 + narrowBar + 1)
    return `${pc.cyan(shortened(name, room - 1))} ${facts}`.slice(0, columns + pc.cyan('').length);
  const label = shortened(name, room - 2 - narrowBar).padEnd(Math.min(nameColumn, room - 2 - wideBar));
  const width = Math.min(wideBar, room - 2 - label.length);
  const full = Math.round(progress * width);
  return `${pc.cyan(label)} ${'█'.repeat(full)}${'░'.repeat(width - full)} ${facts}`;
}

function shortened(name: string, length: number): string {
  if (name.length <= length) return name;
  const kept = Math.max(7, length - 1);
  return `${name.slice(0, Math.ceil(kept / 2))}…${name.slice(name.length - Math.floor(kept / 2))}`;
}

function barMeter(stream: NodeJS.WriteStream, stage: string, count: Count, shown: Shown): Meter {
  let end = '';
  const draw = (_: unknown, { progress }: { progress: number }, { rate, left, state }: Description) =>
    barLine(stream.columns ?? 80, stage, `${count.done}/${count.total} · ${rate} · ${left} left${state}`, progress) +
    end;
  const bar = new SingleBar({ stream, format: draw, hideCursor: false, clearOnComplete: false, gracefulExit: false });
  bar.start(count.total, count.resumed, count.describe());
  shown.redraw = () => {
    end = end === '' ? ' ' : ''; // A line that has not changed is not drawn.
    bar.render();
  };
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
      shown.redraw = null;
      bar.update(count.done, { ...count.describe(true), left: '0s' });
      bar.stop();
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
