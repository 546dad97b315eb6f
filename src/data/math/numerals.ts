/** Numbers as they are spelled. */
import type { Expression } from './expression.js';
import { multiply, power, rational } from './rational.js';

/** The number that digits spell; `.1(6)` repeats its last digits. */
export function number(text: string): Expression {
  const repeating = /^(\d*)\.(\d*)\((\d+)\)$/.exec(text);
  if (repeating !== null) {
    const [, whole = '', fixed = '', period = ''] = repeating;
    const difference = BigInt(whole + fixed + period) - BigInt(`0${whole}${fixed}`);
    const nines = BigInt('9'.repeat(period.length) + '0'.repeat(fixed.length));
    return { kind: 'number', value: rational(difference, nines), decimals: null };
  }
  const [mantissa = '', exponent] = text.toLowerCase().split('e');
  const [whole = '', decimals = ''] = mantissa.split('.');
  const scale = power(rational(10n), BigInt(decimals.length));
  const value = rational(BigInt(whole + decimals), scale.n);
  if (exponent !== undefined) {
    return { kind: 'number', value: multiply(value, power(rational(10n), BigInt(exponent))), decimals: null };
  }
  return { kind: 'number', value, decimals: text.includes('.') ? decimals.length : null };
}

export type Natural = Extract<Expression, { kind: 'number' }>;
export const isNatural = (expression: Expression): expression is Natural =>
  expression.kind === 'number' && expression.decimals === null && expression.value.d === 1n;
export const isOne = (expression: Expression): boolean => isNatural(expression) && expression.value.n === 1n;

/** `2 1/3`; null where the fraction is not a proper one. */
export function mixed(whole: Natural, top: Expression, bottom: Expression): Expression | null {
  if (!isNatural(top) || !isNatural(bottom) || top.value.n >= bottom.value.n) return null;
  return { kind: 'sum', terms: [whole, { kind: 'quotient', top, bottom }] };
}
