/** Texts that make backtracking or recursion explode: a run that hangs is a run that fails. */
import { expect, it } from 'vitest';
import { answersEqual } from '../../src/data/answers.js';
import { extractAnswer } from '../../src/data/extract.js';
import { answerTypes } from '../../src/data/questions.js';

const fill = (text: string, length = 100_000): string => text.repeat(Math.ceil(length / text.length));

it.each(
  [
    ...['\\boxed{', '\\boxed{1}', '\\boxed{1} and ', '{', '}', '$', '$1', '\\(', '\\[', '\\text{', '\\', '\\\\'],
    ...['answer is ', 'answer: ', 'answer (', 'the answer to ', ' ', '\n', '\n ', '*', '#', '#### ', '1 ', '1,', '1/'],
    ...[
      '- 1 ',
      '1. ',
      '(A) ',
      'option A ',
      'yes no ',
      '1 2/3 ',
      '<<',
      '%',
      '1 = ',
      'is 1',
      'minus 1 ',
      'not 1 ',
      '\ud800',
    ],
  ].map((text) => [text]),
)('extraction ends on a text full of %j', (text) => {
  for (const type of answerTypes) {
    for (const whole of [
      fill(text),
      `The answer is ${fill(text)}`,
      `\\boxed{${fill(text)}}`,
      `${fill(text)}\n\\boxed{7 7}`,
    ]) {
      const found = extractAnswer(type, whole);
      expect(found === null || typeof found.answer === 'string').toBe(true);
    }
  }
});

it.each([
  [fill('(', 1900)],
  [fill('{', 1900)],
  [`${fill('\\frac{1}{', 900)}1${'}'.repeat(100)}`],
  [fill('2^', 1900)],
  ['2^{2^{2^{2^{99}}}}'],
  ['9^{9^9}'],
  ['10^{100000}'],
  ['(x+y)^{1000000}'],
  ['(a+b+c+d+e+f)^{30}'],
  [`(${Array.from({ length: 30 }, (_, i) => `\\sqrt{${i + 2}}`).join('+')})^{20}`],
  [fill('(x+y+z+w)', 900)],
  [`${fill('-', 1900)}1`],
  [fill('x!', 1900)],
  ['1000000!'],
  [`${fill('\\sin ', 900)}x`],
  [`${fill('\\sin x + ', 900)}1`],
  [`${fill('[1,2]\\cup', 1800)}[1,2]`],
  [Array.from({ length: 100 }, (_, i) => `[\\sqrt{${i}},${i}.5]`).join('\\cup')],
  [fill('|x', 1900)],
  [fill('1<', 1900)],
  [fill('9', 1900)],
  [`1/${fill('9', 1900)}`],
  ['1e999999'],
  ['e^{e^{e^{e^{e}}}}'],
  [Array.from({ length: 90 }, (_, i) => `\\frac{1}{x+${i}}`).join('+')],
  [`\\sqrt[99]{${fill('7', 1000)}}`],
])('comparison ends on %s', (text) => {
  for (const other of [`${text}+1`, '5', 'x', '1, 2, 3']) {
    expect(answersEqual('latex', text, other)).toBe(false);
    expect(answersEqual('latex', other, text)).toBe(false);
    expect(answersEqual('number', text, other)).toBe(false);
  }
});

it('reads nothing that is too long to be an answer', () => {
  const long = `${fill('1+', 3000)}1`;
  expect(answersEqual('latex', long, long)).toBe(false);
  expect(extractAnswer('number', `\\boxed{${fill('1', 3000)}}`)).toBeNull();
});
