import { expect, test } from 'vitest';
import { IdIndex } from '../../src/cli/id_index.js';

test('numbers ids in the order in which they come, and finds them again', () => {
  const ids = new IdIndex();
  const names = Array.from({ length: 5000 }, (_, i) => (i % 3 === 0 ? `${i}` : `row ${i * i}`));
  names.forEach((name, i) => {
    expect(ids.find(name)).toBe(-1);
    expect(ids.add(name)).toBe(i);
  });
  expect(ids.size).toBe(5000);
  expect(names.map((name) => ids.find(name))).toEqual(names.map((_, i) => i));
  expect(ids.find('row')).toBe(-1);
  expect(() => ids.add('0')).toThrow("'0' again");
});
