/** Exact rational numbers of bounded size. */

/** n/d with d > 0, in lowest terms. */
export interface Rational {
  readonly n: bigint;
  readonly d: bigint;
}

/** A computation that would take too long, or that has no value: whoever compares gives up, and says "not equal". */
export class Undecidable extends Error {
  override readonly name = 'Undecidable';
}

/** Numerators and denominators have at most this many bits: about 1,200 decimal digits. */
const mostBits = 4096n;
const largest = 1n << mostBits;

export function greatestDivisor(a: bigint, b: bigint): bigint {
  let [x, y] = [a < 0n ? -a : a, b < 0n ? -b : b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x;
}

/** @throws {Undecidable} when d is zero or the result is too large */
export function rational(n: bigint, d = 1n): Rational {
  if (d === 0n) throw new Undecidable('division by zero');
  if (d === 1n) {
    if (n > largest || n < -largest) throw new Undecidable('too large a number');
    return { n, d };
  }
  const divisor = greatestDivisor(n, d) * (d < 0n ? -1n : 1n);
  const [numerator, denominator] = [n / divisor, d / divisor];
  if (numerator > largest || numerator < -largest || denominator > largest) throw new Undecidable('too large a number');
  return { n: numerator, d: denominator };
}

export const zero: Rational = { n: 0n, d: 1n };
export const one: Rational = { n: 1n, d: 1n };

export const add = (a: Rational, b: Rational): Rational => rational(a.n * b.d + b.n * a.d, a.d * b.d);
export const multiply = (a: Rational, b: Rational): Rational => rational(a.n * b.n, a.d * b.d);
export const negate = (a: Rational): Rational => ({ n: -a.n, d: a.d });
export const invert = (a: Rational): Rational => rational(a.d, a.n);
export const isZero = (a: Rational): boolean => a.n === 0n;
export const isOne = (a: Rational): boolean => a.n === 1n && a.d === 1n;
export const isInteger = (a: Rational): boolean => a.d === 1n;
export const equal = (a: Rational, b: Rational): boolean => a.n === b.n && a.d === b.d;
export const floor = (a: Rational): bigint => (a.n >= 0n || a.n % a.d === 0n ? a.n / a.d : a.n / a.d - 1n);
export const format = (a: Rational): string => (a.d === 1n ? `${a.n}` : `${a.n}/${a.d}`);

const bitLength = (n: bigint): bigint => BigInt((n < 0n ? -n : n).toString(2).length);

/** @throws {Undecidable} when the result is too large */
export function power(a: Rational, exponent: bigint): Rational {
  if (exponent < 0n) return power(invert(a), -exponent);
  const size = bitLength(a.n) > bitLength(a.d) ? bitLength(a.n) : bitLength(a.d);
  if ((a.n === 1n || a.n === -1n || a.n === 0n) && a.d === 1n) {
    return a.n === -1n && exponent % 2n === 0n ? one : exponent === 0n ? one : a;
  }
  if ((size - 1n) * exponent > mostBits) throw new Undecidable('too large a power');
  return rational(a.n ** exponent, a.d ** exponent);
}
