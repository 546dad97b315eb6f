import { expect, it } from 'vitest';
import { fuzz } from './fuzz.js';
import { targets } from './targets.js';

it('damaged files of every kind are read or refused in one line, in bounded time and memory', () => {
  const { counts, wrong } = fuzz(
    targets.map(({ name }) => name),
    targets.length * 25,
    20,
  );
  expect(wrong).toEqual([]);
  expect(Object.values(counts).reduce((sum, { refused }) => sum + refused, 0)).toBeGreaterThan(100);
  expect(Object.values(counts).reduce((sum, { read }) => sum + read, 0)).toBeGreaterThan(20);
});
