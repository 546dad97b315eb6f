/** Expressions as quotients of two polynomials, exactly: equal quotients are equal expressions, wherever both are defined. */
import type { Expression } from './expression.js';
import {
  add,
  asConstant,
  asMonomial,
  atomPower,
  type Budget,
  constant,
  content,
  describe,
  leadingCoefficient,
  multiply,
  nameOfPowers,
  type Polynomial,
  reciprocal,
  same,
  scale,
} from './polynomial.js';
import {
  floor,
  invert,
  isInteger,
  isZero,
  multiply as multiplyRational,
  negate,
  one,
  power as powerOf,
  type Rational,
  rational,
  Undecidable,
} from './rational.js';

export interface Quotient {
  top: Polynomial;
  bottom: Polynomial;
}

const unit = constant(one);
const largestExponent = 40n;
const largestFactorial = 450n;

function quotient(top: Polynomial, bottom: Polynomial, budget: Budget): Quotient {
  const inverse = reciprocal(bottom);
  return inverse === null ? { top, bottom } : { top: multiply(top, inverse, budget), bottom: unit };
}

const whole = (top: Polynomial): Quotient => ({ top, bottom: unit });

/** One text per quotient, but for common factors of several terms; names an atom that is a function of it. */
function nameOf({ top, bottom }: Quotient): string {
  const by = invert(leadingCoefficient(bottom));
  return bottom === unit ? describe(top) : `${describe(scale(top, by))} over ${describe(scale(bottom, by))}`;
}

/** Equality by cross multiplication. */
export function sameQuotient(a: Quotient, b: Quotient, budget: Budget): boolean {
  if (a.bottom === b.bottom) return same(a.top, b.top);
  return same(multiply(a.top, b.bottom, budget), multiply(b.top, a.bottom, budget));
}

/** The prime factors of n > 0 below 1000, and what is left over as if it were prime. */
function factorise(n: bigint): [prime: bigint, count: bigint][] {
  const factors: [bigint, bigint][] = [];
  let rest = n;
  for (let p = 2n; p < 1000n && p * p <= rest; p += p === 2n ? 1n : 2n) {
    let count = 0n;
    while (rest % p === 0n) {
      rest /= p;
      count++;
    }
    if (count > 0n) factors.push([p, count]);
  }
  if (rest > 1n) factors.push([rest, 1n]);
  return factors;
}

/** c^exponent for a rational c > 0 and any polynomial exponent. */
function positivePower(c: Rational, exponent: (base: string) => Polynomial, budget: Budget): Polynomial {
  let result = unit;
  for (const [n, sign] of [
    [c.n, 1n],
    [c.d, -1n],
  ] as const) {
    for (const [prime, count] of factorise(n)) {
      const factor = exponent(String(prime));
      for (let i = 0n; i < count; i++) {
        const inverse = sign === 1n ? factor : reciprocal(factor);
        if (inverse === null) throw new Undecidable('an unusual power');
        result = multiply(result, inverse, budget);
      }
    }
  }
  return result;
}

function integerPower(base: Quotient, exponent: bigint, budget: Budget): Quotient {
  if (exponent < 0n) {
    if (base.top.size === 0) throw new Undecidable('division by zero');
    return integerPower(quotient(base.bottom, base.top, budget), -exponent, budget);
  }
  const value = base.bottom === unit ? asConstant(base.top) : null;
  if (value !== null) {
    if (exponent === 0n && isZero(value)) throw new Undecidable('0^0');
    return whole(constant(powerOf(value, exponent)));
  }
  const limit = base.top.size === 1 && base.bottom === unit ? 4000n : largestExponent;
  if (exponent > limit) throw new Undecidable('too large an exponent');
  let [result, square]: [Quotient, Quotient] = [whole(unit), base];
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = times(result, square, budget);
    if (left > 1n) square = times(square, square, budget);
  }
  return result;
}

const times = (a: Quotient, b: Quotient, budget: Budget): Quotient =>
  quotient(multiply(a.top, b.top, budget), a.bottom === unit ? b.bottom : multiply(a.bottom, b.bottom, budget), budget);

function plus(a: Quotient, b: Quotient, budget: Budget): Quotient {
  if (a.bottom === unit && b.bottom === unit) return whole(add(a.top, b.top));
  const top = add(multiply(a.top, b.bottom, budget), multiply(b.top, a.bottom, budget));
  return quotient(top, multiply(a.bottom, b.bottom, budget), budget);
}

/** Positive atoms: the powers of these combine as those of primes do. */
const isPositive = (atom: string): boolean =>
  /^\d/.test(atom) || atom === 'pi' || atom === 'e' || (atom.startsWith('pow(') && !/\bi\b/.test(atom));

/** base^exponent for an exponent that is no integer. A root is the principal one. */
function fractionalPower(base: Quotient, exponent: Rational, budget: Budget): Quotient {
  if (base.top.size === 0 && exponent.n > 0n) return base;
  const monomial = base.bottom === unit ? asMonomial(base.top) : null;
  if (monomial?.powers.every(([atom]) => isPositive(atom))) {
    const { coefficient, powers } = monomial;
    const size = coefficient.n < 0n ? negate(coefficient) : coefficient;
    let result = positivePower(size, (prime) => atomPower(prime, exponent), budget);
    for (const [atom, inner] of powers) {
      result = multiply(result, atomPower(atom, multiplyRational(inner, exponent)), budget);
    }
    if (coefficient.n > 0n) return whole(result);
    if (exponent.d !== 2n) throw new Undecidable('a power of a negative number');
    return whole(multiply(result, atomPower('i', rational(exponent.n)), budget));
  }
  // c·p with c > 0 taken out: (c·p)^r = c^r · p^r.
  const share = multiplyRational(content(base.top), invert(content(base.bottom)));
  const outside = positivePower(share, (prime) => atomPower(prime, exponent), budget);
  const inside = { top: scale(base.top, invert(share)), bottom: base.bottom };
  if (inside.bottom === unit) {
    const plain = asMonomial(inside.top);
    if (plain?.powers.length === 1 && plain.coefficient.n === 1n && plain.coefficient.d === 1n) {
      const [atom, inner] = plain.powers[0]!;
      if (inner.n === 1n && inner.d === 1n) return whole(multiply(outside, atomPower(atom, exponent), budget));
    }
  }
  return whole(multiply(outside, atomPower(`(${nameOf(inside)})`, exponent), budget));
}

/** base^exponent where the exponent has atoms: a^(2x+1) = (a^x)^2·a for a positive base, else an atom of its own. */
function symbolicPower(base: Quotient, exponent: Quotient, budget: Budget): Quotient {
  const { powers = [], coefficient = one } = (base.bottom === unit && asMonomial(base.top)) || {};
  const positive = coefficient.n > 0n && powers.every(([atom]) => isPositive(atom));
  if (exponent.bottom !== unit || base.top.size !== 1 || !positive) {
    return whole(atomPower(`(${nameOf(base)})^(${nameOf(exponent)})`));
  }
  const spread = (atom: string, times: Rational = one): Polynomial => {
    let result = unit;
    for (const term of exponent.top.values()) {
      const name = term.powers.length === 0 ? atom : `pow(${atom},${nameOfPowers(term.powers)})`;
      result = multiply(result, atomPower(name, multiplyRational(term.coefficient, times)), budget);
    }
    return result;
  };
  let result = positivePower(coefficient, spread, budget);
  for (const [atom, inner] of powers) result = multiply(result, spread(atom, inner), budget);
  return whole(result);
}

function factorial(n: bigint): Rational {
  let result = 1n;
  for (let i = 2n; i <= n; i++) result *= i;
  return rational(result);
}

/** n choose k for small whole numbers. */
function binomial(n: bigint, k: bigint): Rational {
  let result = 1n;
  for (let i = 1n; i <= k; i++) result = (result * (n - k + i)) / i;
  return rational(result);
}

function call(name: string, args: readonly Quotient[], budget: Budget): Quotient {
  const values = args.map(({ top, bottom }) => (bottom === unit ? asConstant(top) : null));
  const [a, b] = values;
  if (name === 'abs' && a) return whole(constant(a.n < 0n ? negate(a) : a));
  if (name === 'abs' && leadingCoefficient(args[0]!.top).n < 0n) {
    return call(name, [{ top: scale(args[0]!.top, rational(-1n)), bottom: args[0]!.bottom }], budget);
  }
  if (name === 'floor' && a) return whole(constant(rational(floor(a))));
  if (name === 'ceiling' && a) return whole(constant(rational(-floor(negate(a)))));
  if (name === 'factorial' && a && isInteger(a) && a.n >= 0n && a.n <= largestFactorial) {
    return whole(constant(factorial(a.n)));
  }
  if (name === 'binom' && a && b && isInteger(a) && isInteger(b) && b.n >= 0n && b.n <= a.n && a.n <= 1000n) {
    return whole(constant(binomial(a.n, b.n)));
  }
  if (name === 'exp' && args.length === 1) return raise(whole(atomPower('e')), args[0]!, budget);
  return whole(atomPower(`${name}(${args.map(nameOf).join(', ')})`));
}

function raise(base: Quotient, exponent: Quotient, budget: Budget): Quotient {
  const value = exponent.bottom === unit ? asConstant(exponent.top) : null;
  if (value === null) return symbolicPower(base, exponent, budget);
  return value.d === 1n ? integerPower(base, value.n, budget) : fractionalPower(base, value, budget);
}

/** @throws {Undecidable} for what has no value, is no single number, or would take too long */
export function normalForm(expression: Expression, budget: Budget): Quotient {
  budget.spend(1);
  const of = (part: Expression): Quotient => normalForm(part, budget);
  switch (expression.kind) {
    case 'number':
      return whole(constant(expression.value));
    case 'symbol':
      if ('∞∅ℝℂℤℕℚ'.includes(expression.name)) throw new Undecidable('not a number');
      return whole(atomPower(expression.name));
    case 'sum':
      return expression.terms.map(of).reduce((a, b) => plus(a, b, budget));
    case 'product':
      return expression.factors.map(of).reduce((a, b) => times(a, b, budget));
    case 'negative': {
      const { top, bottom } = of(expression.of);
      return { top: scale(top, rational(-1n)), bottom };
    }
    case 'quotient':
      return times(of(expression.top), integerPower(of(expression.bottom), -1n, budget), budget);
    case 'percent': {
      const { top, bottom } = of(expression.of);
      return { top: scale(top, rational(1n, 100n)), bottom };
    }
    case 'power':
      return raise(of(expression.base), of(expression.exponent), budget);
    case 'root': {
      const base = of(expression.of);
      const value = base.bottom === unit ? asConstant(base.top) : null;
      // An odd root of a negative number is the real one.
      if (expression.degree % 2 === 1 && value !== null && value.n < 0n) {
        const { top } = fractionalPower(
          whole(constant(negate(value))),
          rational(1n, BigInt(expression.degree)),
          budget,
        );
        return whole(scale(top, rational(-1n)));
      }
      return fractionalPower(base, rational(1n, BigInt(expression.degree)), budget);
    }
    case 'call':
      return call(expression.name, expression.args.map(of), budget);
    default:
      throw new Undecidable('not a number');
  }
}

/** The exact value where it is rational, else null. */
export function rationalValue(form: Quotient): Rational | null {
  return form.bottom === unit ? asConstant(form.top) : null;
}
