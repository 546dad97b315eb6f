import { describe, expect, it } from 'vitest';
import { extractAnswer } from '../../src/data/extract.js';

const number = (text: string) => extractAnswer('number', text)?.answer ?? null;
const letter = (text: string) => extractAnswer('letter', text)?.answer ?? null;
const boolean = (text: string) => extractAnswer('boolean', text)?.answer ?? null;

describe('numbers', () => {
  it.each([
    // boxed
    ['So the total is \\boxed{18}.', '18', 'boxed'],
    ['First \\boxed{3}, no, \\boxed{\\frac{7}{2}}', '3.5', 'boxed'],
    ['\\[ x = 5 + 3 = \\boxed{8 \\text{ apples}} \\]', '8', 'boxed'],
    ['$\\boxed{\\$1{,}234.50}$', '1234.5', 'boxed'],
    ['\\boxed{x = \\dfrac{1}{3}}', '1/3', 'boxed'],
    ['\\boxed{-4}', '-4', 'boxed'],
    ['The answer is 3. \\boxed{4}', '4', 'boxed'],
    // hashes
    ['16 - 3 - 4 = 9 eggs.\n9 * 2 = $18.\n#### 18', '18', 'hashes'],
    ['Some text #### $1,080', '1080', 'hashes'],
    ['#### Step 1: add 4\n#### 12', '12', 'hashes'],
    // phrase
    ['Anna has 5 + 3 = 8 apples. The answer is 8.', '8', 'phrase'],
    ['The final answer is: **42** marbles.', '42', 'phrase'],
    ['The answer is: $\\frac{3}{4}$', '0.75', 'phrase'],
    ['Therefore, the answer is 12 + 6 = 18 apples.', '18', 'phrase'],
    ['The answer is 18, because 12 + 6 = 18 and 2 * 9 = 18.', '18', 'phrase'],
    ['The answer is 3. Wait, 5 - 3 = 2. The answer is 2.', '2', 'phrase'],
    ['The answer is\n\n15', '15', 'phrase'],
    ['The answer to the question is 7 dollars.', '7', 'phrase'],
    ['The answer is clear. We add 5 and 3.\nAnswer: 8', '8', 'label'],
    // label
    ['5 + 3 = 8\n\n**Answer:** 8 cookies', '8', 'label'],
    ['**Final Answer**: 1,200', '1200', 'label'],
    ['Answer (in dollars): $3.50', '3.5', 'label'],
    // fallback
    ['To find the total, we add 15 and 7:\n\n15 + 7 = 22\n\nSo, Mia has 22 coins now.', '22', 'fallback'],
    ['Tom has 10 - 4 = 6 apples left.', '6', 'fallback'],
    ['So she pays 4 * $6 = $24 for the 4 tickets.', '24', 'fallback'],
    ['1. Add 4 and 5\n2. That gives 9\n3.', '9', 'fallback'],
    ['18.', '18', 'fallback'],
    ['Step 1: 3 x 4 = 12\nStep 2: 12 + 5 = 17', '17', 'fallback'],
    ['He has 2 million dollars', '2000000', 'fallback'],
    ['That is 25% of the class.', '25%', 'fallback'],
  ])('%j gives %s from %s', (text, answer, tier) => {
    expect(extractAnswer('number', text)).toEqual({ answer, tier });
  });

  it.each([
    ['The answer is 5 or 6.'],
    ['The answer is 12 + 6'],
    ['\\boxed{2x + 1}'],
    ['The answer is between 3 and 5.'],
    ['The answer is at least 7.'],
    ['The answer is 2 hours 30 minutes.'],
    ['The answer is 1,23'],
    ['The answer is 3x.'],
    ['I do not know.'],
    [''],
    ['The answer is 3/4/2020'],
    ['The answer is √2'],
    ['\\boxed{3, 4}'],
    ['It takes 2 hours and 30 minutes.'],
    ['It takes 2 hours 30 minutes.'],
    ['She has 3 apples and 5 oranges.'],
    ['The answer is 5 and a half.'],
    ['The answer is 1 out of 5.'],
    ['The answer is 20 more than 5.'],
    ['The answer is 5 times as many.'],
    ['\\boxed{\\sqrt{2}}'],
    ['The area is $3\\sqrt{2}$'],
  ])('%j gives no answer', (text) => {
    expect(number(text)).toBeNull();
  });

  it('does not guess from a text that was cut off', () => {
    expect(extractAnswer('number', 'We add 5 and 3 to get', { fallback: false })).toBeNull();
    expect(extractAnswer('number', 'The answer is 8. Then', { fallback: false })?.answer).toBe('8');
  });
});

describe('letters', () => {
  it.each([
    ['\\boxed{C}', 'C'],
    ['\\boxed{\\text{(B)}}', 'B'],
    ['The answer is (D) Paris.', 'D'],
    ['The correct answer is B because the others are too small.', 'B'],
    ['The answer is option C', 'C'],
    ['Answer: b', 'B'],
    ['**Answer: E.** Rome', 'E'],
    ['#### A', 'A'],
    ['A is too small and C is too large.\n\nB', 'B'],
    ['B) Mitochondria', 'B'],
    ['So we choose option D.', 'D'],
    ['Option C is correct.', 'C'],
    ['The correct choice is **D. All of them**', 'D'],
    ['The answer should be C.', 'C'],
    ['The answer is therefore (C).', 'C'],
    ['$\\boxed{\\mathrm{B}}$', 'B'],
    ['\\boxed{\\textbf{(B)}}', 'B'],
    ['\\boxed{B. 30}', 'B'],
    ['The answer is A, because', 'A'],
    ['The answer is B, A is wrong.', 'B'],
    ['The answer is A.', 'A'],
  ])('%j gives %s', (text, answer) => {
    expect(letter(text)).toBe(answer);
  });

  it.each([
    ['The answer is A or B'],
    ['The answer is a large city in France.'],
    ['I think it could be anything'],
    ['It is (A) or (B)'],
    ['\\boxed{A, B}'],
    ['\\boxed{AB}'],
    ['The answer is A, C'],
    ['The answer is not B.'],
    ["The answer isn't B."],
    ['The answer is A large city.'],
    ['\\boxed{Z}'],
  ])('%j gives no answer', (text) => {
    expect(letter(text)).toBeNull();
  });
});

describe('booleans', () => {
  it.each([
    ['The answer is yes.', 'true'],
    ['Answer: False', 'false'],
    ['\\boxed{\\text{True}}', 'true'],
    ['Yes, because water boils at 100 degrees.', 'true'],
    ['Water is wet. Therefore the statement is true.', 'true'],
    ['The answer is no, since cats are not dogs.', 'false'],
    ['#### no', 'false'],
  ])('%j gives %s', (text, answer) => {
    expect(boolean(text)).toBe(answer);
  });

  it.each([
    ['The answer is not true.'],
    ['The answer is yes or no.'],
    ['Perhaps.'],
    ['No evidence supports this.'],
    ['Yes and no.'],
    ['No one knows'],
    ['It is unknown whether this is true'],
    ["It isn't true"],
  ])('%j gives no answer', (text) => {
    expect(boolean(text)).toBeNull();
  });
});
