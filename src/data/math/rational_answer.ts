/** The exact number that an answer in LaTeX comes to. */
import { normalForm, rationalValue } from './normal_form.js';
import { Budget } from './polynomial.js';
import { type Rational, Undecidable } from './rational.js';
import { readAnswer } from './statement.js';
import { tidy } from './words.js';

/** `\sqrt{16}`, `2^{10}`, `x = \frac{1}{3}`; null for what is no single rational number, such as `3\pi` or `\pm 2`. */
export function rationalAnswer(text: string): { value: Rational; percent: boolean } | null {
  try {
    const statements = readAnswer(tidy(text), 'thousands').flat();
    const [statement] = statements;
    if (statements.length !== 1 || statement?.kind !== 'value') return null;
    const value = rationalValue(normalForm(statement.value, new Budget()));
    return value === null ? null : { value, percent: statement.percent };
  } catch (error) {
    if (error instanceof Undecidable) return null;
    throw error;
  }
}
