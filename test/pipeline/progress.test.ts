import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { barLine, createProgress } from '../../src/pipeline/progress.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function progress() {
  const stream = new PassThrough();
  const lines = () => (stream.read()?.toString() ?? '').trim().split('\n');
  return { lines, ...createProgress(stream as unknown as NodeJS.WriteStream) };
}

test('without a terminal there is a line at the start, every ten seconds and at the end', () => {
  const { start, lines } = progress();
  const meter = start('answers', 24, 4, 'rows');
  expect(lines()).toEqual(['answers: 20 rows, 4 already there']);
  vi.advanceTimersByTime(5000);
  meter.advance(1, 50);
  expect(lines()).toEqual(['']);
  vi.advanceTimersByTime(5000);
  meter.advance(1, 50);
  expect(lines()).toEqual(['answers: 6/24 rows · 0.2 rows/s, 10 tokens/s · 1m 30s left']);
  meter.advance(18, 900);
  meter.finish();
  expect(lines()).toEqual(['answers: 24/24 rows · 2.0 rows/s, 100 tokens/s · took 10s']);
});

test('a state takes the place of tokens per second while the work goes on', () => {
  const { start, lines } = progress();
  const meter = start('generate', 10, 0, 'rows', () => '12 tokens/s · running 3 · waiting 4 · KV 50 %');
  lines();
  vi.advanceTimersByTime(10_000);
  meter.advance(5, 100);
  expect(lines()).toEqual([
    'generate: 5/10 rows · 0.5 rows/s · 10s left · 12 tokens/s · running 3 · waiting 4 · KV 50 %',
  ]);
  meter.advance(5, 100);
  meter.finish();
  expect(lines()).toEqual(['generate: 10/10 rows · 1.0 rows/s, 20 tokens/s · took 10s']);
});

test('state and time go on where no row ends for long', () => {
  const { start, lines } = progress();
  let running = 3;
  const meter = start('generate', 10, 0, 'rows', () => `running ${running}`);
  lines();
  vi.advanceTimersByTime(11_000);
  expect(lines()).toEqual(['generate: 0/10 rows · … · … left · running 3']);
  running = 4;
  vi.advanceTimersByTime(11_000);
  expect(lines()).toEqual(['generate: 0/10 rows · … · … left · running 4']);
  meter.finish();
  expect(lines()).toHaveLength(1);
  vi.advanceTimersByTime(60_000);
  expect(lines()).toEqual(['']);
});

test('so they do on a terminal', () => {
  const stream = Object.assign(new PassThrough(), {
    isTTY: true,
    columns: 200,
    cursorTo() {},
    clearLine() {},
    moveCursor() {},
  });
  let running = 3;
  const { start } = createProgress(stream as unknown as NodeJS.WriteStream);
  const meter = start('generate', 10, 0, 'rows', () => `running ${running}`);
  stream.read();
  running = 4;
  vi.advanceTimersByTime(1500);
  expect(String(stream.read())).toContain('0/10 · … · … left · running 4');
  meter.finish();
  stream.read();
  vi.advanceTimersByTime(5000);
  expect(stream.read()).toBeNull();
});

test.each([40, 60, 80, 120, 200])('a bar of %i columns fits, and loses the bar before the figures', (columns) => {
  const facts = '24/144 · 3.2 rows/s · 12m 05s left · 1612 tokens/s · KV 12 %';
  for (const name of ['traces round 1/4', 'evaluate smollm2-135m answer-only']) {
    const line = stripVTControlCharacters(barLine(columns, name, facts, 0.5));
    expect(line.length).toBeLessThanOrEqual(columns);
    if (columns >= 80) expect(line.endsWith(facts)).toBe(true);
    if (columns >= 120) expect(line).toMatch(new RegExp(`^${name} +█+░+ 24/144`));
    expect(line.startsWith(name.slice(0, 2))).toBe(true);
  }
});

test('a note stands above the bar, which is drawn again', () => {
  const log: string[] = [];
  const stream = Object.assign(new PassThrough(), {
    isTTY: true,
    columns: 100,
    cursorTo() {},
    clearLine() {},
    moveCursor() {},
  });
  stream.on('data', (text: Buffer) => log.push(stripVTControlCharacters(text.toString())));
  const { start, note } = createProgress(stream as unknown as NodeJS.WriteStream);
  const meter = start('generate', 10, 0, 'rows');
  vi.advanceTimersByTime(100);
  log.length = 0;
  note('The machine slept.');
  expect(log.join('')).toMatch(/The machine slept\.\ngenerate +░+ 0\/10/);
  meter.finish();
});

test('a prompt is shown once, for all stages that ask the same', () => {
  const { prompt, lines } = progress();
  prompt('evaluate a', 'Hello');
  prompt('evaluate b', 'Hello');
  prompt('evaluate a', 'Bye');
  expect(lines().filter((line: string) => line.includes('first prompt'))).toHaveLength(1);
});
