import { describe, expect, it } from 'vitest';
import { permutation, philox4x32, randomWord, uniform } from '../../src/training/philox.js';

describe('philox4x32', () => {
  // The known answers published with Random123 (kat_vectors, philox4x32 10).
  it.each([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ] as const)('gives the published answer for %j', (counter, key, expected) => {
    expect(philox4x32(counter, key)).toEqual([...expected]);
  });
});

describe('permutation', () => {
  it('contains every index once and depends on seed and step', async () => {
    const order = await permutation(1000, 7, 0);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, index) => index));
    expect(await permutation(1000, 7, 0)).toEqual(order);
    expect(await permutation(1000, 8, 0)).not.toEqual(order);
    expect(await permutation(1000, 7, 1)).not.toEqual(order);
  });

  it('accepts 0 and 1', async () => {
    expect([...(await permutation(0, 1, 1))]).toEqual([]);
    expect([...(await permutation(1, 1, 1))]).toEqual([0]);
  });
});

describe('uniform', () => {
  it('fills the interval evenly', () => {
    const values = uniform(3, 1, 0, 20_001, -2, 2);
    expect(Math.min(...values)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...values)).toBeLessThan(2);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + value * value, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.03);
    expect(Math.abs(variance - 16 / 12)).toBeLessThan(0.03);
  });

  it('agrees with single words of the same stream', () => {
    const values = uniform(3, 1, 9, 7, 0, 1);
    expect(values[6]).toBe((randomWord(3, 1, 9, 6) >>> 8) * 2 ** -24);
  });
});
