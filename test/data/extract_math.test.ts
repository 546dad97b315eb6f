import { expect, it } from 'vitest';
import { answersEqual, canonicalAnswer } from '../../src/data/answers.js';
import { extractAnswer } from '../../src/data/extract.js';

it.each([
  ['So $x = \\boxed{\\frac{1}{2}}$.', '\\frac{1}{2}', 'boxed'],
  ['First \\boxed{3}. No: \\boxed{\\{1, \\sqrt{2}\\}}', '\\{1, \\sqrt{2}\\}', 'boxed'],
  ['\\boxed{1} and \\boxed{-2}.', '1, -2', 'boxed'],
  ['\\[ \\boxed{(1, 2)}, \\boxed{(2, 1)} \\]', '(1, 2), (2, 1)', 'boxed'],
  ['\\boxed{1} papers and \\boxed{2} bins', '1, 2', 'boxed'],
  ['\\boxed{1} no no no no no \\boxed{2}', '2', 'boxed'],
  ['The first step gives \\boxed{1}. Then we see that \\boxed{2}', '2', 'boxed'],
  ['\\boxed{\\boxed{7}}', '7', 'boxed'],
  ['$\\boxed{28}$ percent', '28\\%', 'boxed'],
  ['\\\\boxed{\\\\frac{1}{3}}', '\\frac{1}{3}', 'boxed'],
  ['The answer is $x = 5$, since $2x = 10$.', 'x = 5', 'phrase'],
  ['The answer is $6$ and $8$.', '6, 8', 'phrase'],
  ['Final Answer: The largest $n$ is 34.', '34', 'label'],
  ['Final Answer: Jane started 3 hours ago. I hope it is correct.', '3', 'label'],
  ['**Answer:** $[0, 1)$', '[0, 1)', 'label'],
  ['#### \\frac{7}{2}', '\\frac{7}{2}', 'hashes'],
  ['We get\n\\begin{align*} x &= 1 + 2 \\\\ &= 3 \\end{align*}\nso \\[ x^2 = 9 \\]', 'x^2 = 9', 'fallback'],
  ['$ a = 2 $ and $ b = 3 $', 'a = 2, b = 3', 'fallback'],
  ['We know $x > 2$. So there are 12 such numbers.', '12', 'fallback'],
  ['She pays $10 and then $5, so $15.', '15', 'fallback'],
  ['x = 3/4', 'x = 3/4', 'fallback'],
])('%j gives %s from %s', (text, answer, tier) => {
  expect(extractAnswer('latex', text)).toEqual({ answer, tier });
});

it.each([['I do not know.'], [''], ['\\boxed{}'], ['Answer $ \n 9 \n $'], ['\\boxed{3']])(
  '%j gives no answer',
  (text) => {
    expect(extractAnswer('latex', text)?.answer ?? null).toBeNull();
  },
);

it('takes two boxes for one answer only where that is mathematics', () => {
  expect(extractAnswer('number', '\\boxed{3} and \\boxed{4}')).toBeNull();
  expect(extractAnswer('number', '\\boxed{4} and \\boxed{4}')?.answer).toBe('4');
  expect(extractAnswer('letter', '\\boxed{A} or \\boxed{B}')).toBeNull();
});

it('has a canonical form that is what it was', () => {
  for (const text of ['\\boxed{\\frac{1}{2}}', '$x^2$.', '\\text{Evelyn}', '(1,2)', '\\left( 3, 4 \\right)']) {
    const canonical = canonicalAnswer('latex', text)!;
    expect(canonicalAnswer('latex', canonical)).toBe(canonical);
    expect(answersEqual('latex', text, canonical)).toBe(true);
  }
  expect(canonicalAnswer('latex', ' $$ ')).toBeNull();
});
