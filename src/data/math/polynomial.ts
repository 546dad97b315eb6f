/**
 * Sums of monomials with exact rational coefficients: the normal form of what is rational in its atoms.
 *
 * An atom is anything with a name: a variable, π, e, i, a prime under a root, a function of something. Exponents are
 * rational, so 2^(1/2)·3^(-1/2)·x is one monomial. A prime's exponent stays in [0, 1), i's in {0, 1}; what exceeds
 * that goes into the coefficient. Two polynomials in the same atoms with different terms may still be equal, where the
 * atoms depend on one another (sin and cos); two with the same terms always are.
 */
import {
  add as addRational,
  equal,
  floor,
  format,
  greatestDivisor,
  isOne,
  isZero,
  multiply as multiplyRational,
  negate,
  one,
  power as powerOf,
  type Rational,
  rational,
  Undecidable,
} from './rational.js';

interface Monomial {
  coefficient: Rational;
  /** Sorted by atom; no exponent is zero. */
  powers: readonly (readonly [atom: string, exponent: Rational])[];
}

/** From what names a product of powers to the monomial; no coefficient is zero. */
export type Polynomial = ReadonlyMap<string, Monomial>;

const mostTerms = 250;

/** Counts down the work of one comparison, so that none takes long. */
export class Budget {
  #left = 60_000;
  spend(amount: number): void {
    this.#left -= amount;
    if (this.#left < 0) throw new Undecidable('too much work');
  }
}

/** One text per product of powers. */
export const nameOfPowers = (powers: Monomial['powers']): string =>
  powers.map(([atom, exponent]) => (isOne(exponent) ? atom : `${atom}^${format(exponent)}`)).join('·');

function fromMonomials(monomials: Iterable<Monomial>): Polynomial {
  const result = new Map<string, Monomial>();
  for (const monomial of monomials) {
    const name = nameOfPowers(monomial.powers);
    const present = result.get(name);
    const coefficient = present ? addRational(present.coefficient, monomial.coefficient) : monomial.coefficient;
    if (isZero(coefficient)) result.delete(name);
    else result.set(name, { ...monomial, coefficient });
  }
  if (result.size > mostTerms) throw new Undecidable('too many terms');
  return result;
}

export const constant = (value: Rational): Polynomial =>
  isZero(value) ? new Map() : new Map([['', { coefficient: value, powers: [] }]]);

/** A prime's name starts with a digit, which no other atom's does. */
const isPrime = (atom: string): boolean => /^\d/.test(atom);

/** Brings one power into its form: what exceeds a prime's or i's range becomes a coefficient. */
function reduced(atom: string, exponent: Rational): { factor: Rational; exponent: Rational } {
  if (atom === 'i' && exponent.d === 1n) {
    const turns = ((exponent.n % 4n) + 4n) % 4n;
    return { factor: rational(turns >= 2n ? -1n : 1n), exponent: rational(turns % 2n) };
  }
  if (!isPrime(atom)) return { factor: one, exponent };
  const whole = floor(exponent);
  return { factor: powerOf(rational(BigInt(atom)), whole), exponent: addRational(exponent, rational(-whole)) };
}

export function atomPower(atom: string, exponent: Rational = one): Polynomial {
  const { factor, exponent: rest } = reduced(atom, exponent);
  return fromMonomials([{ coefficient: factor, powers: isZero(rest) ? [] : [[atom, rest]] }]);
}

function multiplyMonomials(a: Monomial, b: Monomial): Monomial {
  let coefficient = multiplyRational(a.coefficient, b.coefficient);
  const powers = new Map(a.powers);
  for (const [atom, exponent] of b.powers) {
    const present = powers.get(atom);
    const { factor, exponent: rest } = reduced(atom, present ? addRational(present, exponent) : exponent);
    coefficient = multiplyRational(coefficient, factor);
    if (isZero(rest)) powers.delete(atom);
    else powers.set(atom, rest);
  }
  return { coefficient, powers: [...powers].sort(([x], [y]) => (x < y ? -1 : 1)) };
}

export const add = (a: Polynomial, b: Polynomial): Polynomial => fromMonomials([...a.values(), ...b.values()]);

export function scale(a: Polynomial, by: Rational): Polynomial {
  if (isZero(by)) return new Map();
  const scaled = (term: Monomial): Monomial => ({ ...term, coefficient: multiplyRational(term.coefficient, by) });
  return new Map([...a].map(([name, term]) => [name, scaled(term)]));
}

export function multiply(a: Polynomial, b: Polynomial, budget: Budget): Polynomial {
  budget.spend(1 + a.size * b.size);
  const products: Monomial[] = [];
  for (const x of a.values()) for (const y of b.values()) products.push(multiplyMonomials(x, y));
  return fromMonomials(products);
}

/** 1/a where a is one monomial; null where it has more terms. */
export function reciprocal(a: Polynomial): Polynomial | null {
  if (a.size === 0) throw new Undecidable('division by zero');
  if (a.size > 1) return null;
  const [term] = a.values();
  let result: Monomial = { coefficient: powerOf(term!.coefficient, -1n), powers: [] };
  for (const [atom, exponent] of term!.powers) {
    const [inverse] = atomPower(atom, negate(exponent)).values();
    result = multiplyMonomials(result, inverse!);
  }
  return fromMonomials([result]);
}

/** The value of a polynomial without atoms, else null. */
export function asConstant(a: Polynomial): Rational | null {
  if (a.size === 0) return rational(0n);
  return a.size === 1 ? (a.get('')?.coefficient ?? null) : null;
}

/** The one monomial's parts, else null. */
export const asMonomial = (a: Polynomial): Monomial | null => (a.size === 1 ? [...a.values()][0]! : null);

export function same(a: Polynomial, b: Polynomial): boolean {
  if (a.size !== b.size) return false;
  for (const [name, term] of a) {
    const other = b.get(name);
    if (other === undefined || !equal(other.coefficient, term.coefficient)) return false;
  }
  return true;
}

/** One text per polynomial. */
export function describe(a: Polynomial): string {
  const terms = [...a].sort(([x], [y]) => (x < y ? -1 : 1));
  return terms.map(([name, { coefficient }]) => `${format(coefficient)}${name && `·${name}`}`).join(' + ') || '0';
}

/** The positive rational c for which a/c has whole coefficients without a common divisor. */
export function content(a: Polynomial): Rational {
  let [n, d] = [0n, 1n];
  for (const { coefficient } of a.values()) {
    n = greatestDivisor(n, coefficient.n);
    d = (d / greatestDivisor(d, coefficient.d)) * coefficient.d;
  }
  return n === 0n ? one : rational(n, d);
}

/** The coefficient of the term whose name sorts first. */
export function leadingCoefficient(a: Polynomial): Rational {
  const first = [...a.keys()].sort()[0];
  return first === undefined ? one : a.get(first)!.coefficient;
}
