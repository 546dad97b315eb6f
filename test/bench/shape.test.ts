import { expect, test } from 'vitest';
import { formatShape, parseShape } from '../../src/bench/shape.js';

const defaults = { M: 64, N: 1536, K: 0 };

test('by name, by place, or left out', () => {
  expect(parseShape(undefined, defaults)).toEqual(defaults);
  expect(parseShape('K=3, M=2', defaults)).toEqual({ M: 2, N: 1536, K: 3 });
  expect(parseShape('2x5', defaults)).toEqual({ M: 2, N: 5, K: 0 });
  expect(parseShape('2×5×7', defaults)).toEqual({ M: 2, N: 5, K: 7 });
  expect(formatShape(defaults)).toBe('M=64,N=1536,K=0');
});

test('mistakes are named', () => {
  expect(() => parseShape('m=2', defaults)).toThrow("'m' (did you mean 'M'?)");
  expect(() => parseShape('1x2x3x4', defaults)).toThrow('received 4 sizes');
  expect(() => parseShape('M=0', defaults)).toThrow("received 'M=0'");
  expect(() => parseShape('M=1.5', defaults)).toThrow("received 'M=1.5'");
  expect(() => parseShape('64x-1', defaults)).toThrow("received '-1'");
  expect(() => parseShape('M=', defaults)).toThrow("received 'M='");
  expect(parseShape('K=0', defaults).K).toBe(0);
});
