import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { startContest, takeTurns } from '../../benchmarks/common/contest.js';
import { readEnvironment } from '../../benchmarks/common/environment.js';
import { agreement } from '../../benchmarks/common/generators.js';
import { parseOptions } from '../../benchmarks/common/options.js';
import { writeResult } from '../../benchmarks/common/result.js';
import { PeerUnavailable } from '../../src/bench/peer.js';

test('options have defaults, numbers are numbers, and a misspelt one gets the nearest', () => {
  const spec = { rounds: [3, 'rounds'], python: ['python3', 'interpreter'] } as const;
  expect(parseOptions(spec, [])).toEqual({ rounds: 3, python: 'python3' });
  expect(parseOptions(spec, ['--rounds', '5', '--python=x'])).toEqual({ rounds: 5, python: 'x' });
  expect(() => parseOptions(spec, ['--round', '5'])).toThrow("unknown option '--round' (did you mean 'rounds'?)");
  expect(() => parseOptions(spec, ['--rounds', 'many'])).toThrow("'--rounds' to be a number of at least 0");
});

test('everybody runs once a round; who cannot start is left out with the reason', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  const order: string[] = [];
  const contender = (name: string) => async () => ({ name, stop: async () => void order.push(`stop ${name}`) });
  const starts = {
    a: contender('a'),
    b: () => Promise.reject(new PeerUnavailable('not installed')),
    c: contender('c'),
  };
  const { contenders, absent } = await startContest(starts, 'all');
  expect(absent).toEqual([{ name: 'b', reason: 'not installed' }]);
  const results = await takeTurns(contenders, 2, async ({ name }, round) => {
    order.push(`${name}${round}`);
    return `${name}${round}`;
  });
  expect(order).toEqual(['a0', 'c0', 'a1', 'c1']);
  expect(results).toEqual([
    ['a0', 'a1'],
    ['c0', 'c1'],
  ]);
  expect((await startContest(starts, 'c')).contenders.map(({ name }) => name)).toEqual(['c']);
  expect((await startContest(starts, 'none')).contenders).toEqual([]);
  await expect(startContest(starts, 'a,d')).rejects.toThrow("'d'");
  expect(order.at(-1)).toBe('stop a');
});

test('who works for long is heard of every quarter of a minute', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
  const lines: string[] = [];
  vi.spyOn(console, 'error').mockImplementation((line: string) => void lines.push(line));
  let requests = 0;
  const slow = { name: 'slow', state: () => `${requests} requests`, stop: async () => {} };
  await takeTurns([slow], 1, async () => {
    requests = 1;
    vi.advanceTimersByTime(16_000);
    requests = 2;
    vi.advanceTimersByTime(15_000);
  });
  vi.advanceTimersByTime(60_000);
  vi.useRealTimers();
  expect(lines).toEqual([
    'round 1 of 1: slow, 15.0 s so far: 1 requests',
    'round 1 of 1: slow, 30.0 s so far: 2 requests',
    'round 1 of 1: slow, 31.0 s',
  ]);
});

test('tokens agree up to the first that differs', () => {
  expect(agreement([[1, 2, 3, 4]], [[1, 2, 3, 4]])).toBe(1);
  expect(
    agreement(
      [
        [1, 9, 3, 4],
        [5, 6],
      ],
      [
        [1, 2, 3, 4],
        [5, 6],
      ],
    ),
  ).toBe(0.5);
});

test('a result has machine, commit, rates and settings, and no path of the machine', () => {
  vi.spyOn(console, 'log').mockImplementation(() => {});
  const folder = mkdtempSync(join(tmpdir(), 'benchmark-'));
  try {
    writeResult(folder, {
      name: 'example',
      title: 'Example',
      environment: readEnvironment(),
      rates: { flops: { f32: 5e11, bf16: 9e11 }, copy: 3e10, read: 3.1e10 },
      conditions: { Settings: { rounds: 3, python: '/secret/python', out: '/secret' } },
      tables: [{ columns: ['', 'tokens/s'], rows: [['ours', '12']] }],
      notes: ['A note.'],
      data: { settings: { folder: '/secret', gguf: 'model.gguf' } },
    });
    const page = readFileSync(join(folder, 'example.md'), 'utf8');
    const json = readFileSync(join(folder, 'example.json'), 'utf8');
    expect(page).toContain('| ours | 12 |');
    expect(page).toContain('f32 500, bf16 900 GFLOP/s; copy 30.0, read 31.0 GB/s');
    expect(page).toContain('Settings: {"rounds":3}');
    expect(page).toMatch(/cores, \d+ GiB/);
    expect(page).toContain(process.version);
    expect(JSON.parse(json).environment.commit).toMatch(/^([0-9a-f]{12}(, changed)?|unknown)$/);
    expect(JSON.parse(json).data.settings).toEqual({ gguf: 'model.gguf' });
    expect(page + json).not.toContain('/secret');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
