import { expect, it } from 'vitest';
import { answersEqual, canonicalAnswer } from '../../src/data/answers.js';

it.each([
  ['18', '18'],
  ['1,234', '1234'],
  ['1234.50', '$1,234.5'],
  ['18', '18.00'],
  ['18', '18 apples'],
  ['0.5', '1/2'],
  ['7/2', '3 1/2'],
  ['3.5', '\\frac{7}{2}'],
  ['-3', '−3'],
  ['-3', 'minus 3'],
  ['0.5', '50%'],
  ['50', '50%'],
  ['3000000', '3 million'],
  ['1500', '1.5e3'],
  ['45', '45°'],
  ['12', '12\\text{ cm}'],
  ['12', '12 \\text{ cm}^2'],
  ['12', '12 m²'],
  ['60', '60^{\\circ}'],
  ['60', '60 km/h'],
  ['2.5', '2½'],
  ['0.5', '½'],
  ['1000', '1 000'],
  ['4', '\\sqrt{16}'],
  ['1024', '2^{10}'],
  ['1/3', '0.\\overline{3}'],
  ['1/3', 'x = \\frac{1}{3}'],
  ['602000', '6.02 \\times 10^{5}'],
  ['0.00602', '6.02 × 10^-3'],
  ['20', 'twenty'],
  ['21', 'Twenty-one apples'],
  ['205', 'two hundred and five'],
  ['1000000', 'a million'],
  ['3000012', 'three million and twelve'],
  ['3400', 'three thousand four hundred'],
  ['24', 'two dozen eggs'],
])('number %s = %s', (expected, given) => {
  expect(answersEqual('number', expected, given)).toBe(true);
});

it.each([
  ['18', '17'],
  ['18', '1.8'],
  ['18', '180'],
  ['5', '-5'],
  ['5', '5 million'],
  ['5', '5 dozen'],
  ['1', '1%'],
  ['0.5', '0.5%'],
  ['1/3', '0.333'],
  ['5', '5k'],
  ['2', '2 hours 30 minutes'],
  ['5', '5 or 6'],
  ['1', '1st'],
  ['1.23', '1,23'],
  ['12', '1/0'],
  ['2', '2²'],
  ['', ''],
  ['5', 'x5'],
  ['2', '\\sqrt{2}'],
  ['2', '2\\sqrt{3}'],
  ['3', '3\\pi'],
  ['3', '\\pm 3'],
  ['2', '\\frac{x}{2}'],
  ['2', 'x/2'],
  ['0', '0.\\overline{3}'],
  ['1', '1 < 2'],
  ['5', 'x < 5'],
  ['5', '- 5'],
  ['12', '12 34'],
  ['2', '2^3'],
  ['3', '3!+1'],
  ['1', 'one of them'],
  ['2', 'two or three'],
  ['3', 'three-fourths'],
  ['1', 'one hundred one thousand million'],
  ['4', 'four more than that'],
])('number %s ≠ %s', (expected, given) => {
  expect(answersEqual('number', expected, given)).toBe(false);
});

it('compares letters and booleans by meaning', () => {
  expect(answersEqual('letter', 'B', '(b)')).toBe(true);
  expect(answersEqual('letter', 'B', 'D')).toBe(false);
  expect(answersEqual('letter', 'B', 'AB')).toBe(false);
  expect(answersEqual('boolean', 'true', 'Yes.')).toBe(true);
  expect(answersEqual('boolean', 'no', 'true')).toBe(false);
  expect(answersEqual('boolean', 'maybe', 'maybe')).toBe(false);
});

it('has one spelling per answer', () => {
  expect(canonicalAnswer('number', ' $1,050.0 ')).toBe('1050');
  expect(canonicalAnswer('number', '6/4')).toBe('1.5');
  expect(canonicalAnswer('number', '-2/6')).toBe('-1/3');
  expect(canonicalAnswer('letter', 'c)')).toBe('C');
  expect(canonicalAnswer('boolean', 'No')).toBe('false');
  expect(canonicalAnswer('number', 'seven')).toBe('7');
  expect(canonicalAnswer('number', 'many')).toBeNull();
});
