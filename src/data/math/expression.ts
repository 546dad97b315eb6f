/** What the parser makes of mathematics. */
import type { Rational } from './rational.js';

export type Expression =
  /** `decimals`: how many digits stood behind a decimal point, null where there was none. */
  | { kind: 'number'; value: Rational; decimals: number | null }
  /** A variable, with its subscript: `x`, `a_3`; a constant: `pi`, `e`, `i`, `∞`, `∅`, `ℝ`, `°`; or words, `"Area"`. */
  | { kind: 'symbol'; name: string }
  | { kind: 'sum'; terms: Expression[] }
  | { kind: 'product'; factors: Expression[] }
  | { kind: 'negative'; of: Expression }
  | { kind: 'quotient'; top: Expression; bottom: Expression }
  | { kind: 'power'; base: Expression; exponent: Expression }
  | { kind: 'root'; degree: number; of: Expression }
  | { kind: 'percent'; of: Expression }
  /** `sin`, `abs`, `factorial`, `log`, `binom`, `f`, … */
  | { kind: 'call'; name: string; args: Expression[] }
  /** In brackets: a tuple or an interval, which look alike. A ratio `a:b` has `:` for both. */
  | { kind: 'sequence'; open: string; close: string; items: Expression[] }
  | { kind: 'set'; items: Expression[] }
  | { kind: 'setOperation'; operator: '∪' | '∩' | '∖'; left: Expression; right: Expression }
  | { kind: 'matrix'; style: string; rows: Expression[][] };

export const symbol = (name: string): Expression => ({ kind: 'symbol', name });

/** `3x + 1`-like parts of an expression, not those of sets, sequences and matrices. */
export function partsOf(expression: Expression): readonly Expression[] {
  switch (expression.kind) {
    case 'sum':
      return expression.terms;
    case 'product':
      return expression.factors;
    case 'negative':
    case 'root':
    case 'percent':
      return [expression.of];
    case 'quotient':
      return [expression.top, expression.bottom];
    case 'power':
      return [expression.base, expression.exponent];
    case 'call':
      return expression.args;
    case 'sequence':
    case 'set':
      return expression.items;
    case 'setOperation':
      return [expression.left, expression.right];
    case 'matrix':
      return expression.rows.flat();
    default:
      return [];
  }
}

export const constants = new Set(['pi', 'e', 'i', '∞', '°', '∅', 'ℝ', 'ℂ', 'ℤ', 'ℕ', 'ℚ']);

/** The variables of an expression. */
export function variablesOf(expression: Expression, found = new Set<string>()): Set<string> {
  if (expression.kind === 'symbol' && !constants.has(expression.name)) found.add(expression.name);
  for (const part of partsOf(expression)) variablesOf(part, found);
  return found;
}
