import { expect, it } from 'vitest';
import { defaultCaptureSizes } from '../../src/engine/recorded_decode.js';

it.each([1, 2, 3, 7, 8, 9, 100, 255, 256, 257, 300, 512])(
  'records decode steps for every batch of up to %i',
  (most) => {
    const sizes = defaultCaptureSizes(most);
    expect(sizes).toEqual([...new Set(sizes)].sort((a, b) => a - b));
    expect(sizes.at(-1)).toBe(most);
    for (let batch = 1; batch <= most; batch += 1) {
      const size = sizes.find((one) => one >= batch)!;
      expect(size - batch).toBeLessThan(batch <= 256 ? 8 : 16);
    }
  },
);

it('records none for more than 512 sequences', () => {
  expect(defaultCaptureSizes(10_000)).toEqual(defaultCaptureSizes(512));
});
