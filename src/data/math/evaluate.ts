/** The value of an expression at a point, in any arithmetic that has the elementary functions. */
import type { Expression } from './expression.js';
import { isInteger, one, type Rational, rational, Undecidable } from './rational.js';

/** Real numbers of some precision. Its functions throw `Undecidable` or give NaN where they are not defined. */
export interface Arithmetic<T> {
  from(value: Rational): T;
  readonly pi: T;
  readonly e: T;
  add(a: T, b: T): T;
  negate(a: T): T;
  multiply(a: T, b: T): T;
  divide(a: T, b: T): T;
  sign(a: T): number;
  squareRoot(a: T): T;
  exponential(a: T): T;
  logarithm(a: T): T;
  sineAndCosine(a: T): { sine: T; cosine: T };
  arctangent(a: T): T;
}

/**
 * The base of a logarithm that is written without one may be e or 10: any third base keeps the laws that hold for
 * every base, and those alone.
 */
const unknownBase = rational(71n, 10n);

function exponentOf(expression: Expression): Rational | null {
  if (expression.kind === 'number') return expression.value;
  if (expression.kind === 'negative') {
    const inner = exponentOf(expression.of);
    return inner === null ? null : { n: -inner.n, d: inner.d };
  }
  if (expression.kind !== 'quotient') return null;
  const [top, bottom] = [exponentOf(expression.top), exponentOf(expression.bottom)];
  return top === null || bottom === null ? null : rational(top.n * bottom.d, top.d * bottom.n);
}

function integerPower<T>(base: T, exponent: bigint, real: Arithmetic<T>): T {
  if (exponent < 0n) return real.divide(real.from(one), integerPower(base, -exponent, real));
  if (exponent === 0n && real.sign(base) === 0) throw new Undecidable('0^0');
  if (exponent > 100_000n) throw new Undecidable('too large an exponent');
  let [result, square] = [real.from(one), base];
  for (let left = exponent; left > 0n; left >>= 1n) {
    if (left & 1n) result = real.multiply(result, square);
    square = real.multiply(square, square);
  }
  return result;
}

const realPower = <T>(base: T, exponent: T, real: Arithmetic<T>): T =>
  real.exponential(real.multiply(real.logarithm(base), exponent));

function realRoot<T>(of: T, degree: number, real: Arithmetic<T>): T {
  if (real.sign(of) === 0) return of;
  if (degree === 2) return real.squareRoot(of);
  if (real.sign(of) < 0 && degree % 2 === 0) throw new Undecidable('an even root of a negative number');
  const positive = real.sign(of) < 0 ? real.negate(of) : of;
  const size = realPower(positive, real.from(rational(1n, BigInt(degree))), real);
  return real.sign(of) < 0 ? real.negate(size) : size;
}

/** @throws {Undecidable} where it is not defined, not real, or not smooth */
export function evaluate<T>(expression: Expression, point: ReadonlyMap<string, T>, real: Arithmetic<T>): T {
  const of = (part: Expression): T => evaluate(part, point, real);
  switch (expression.kind) {
    case 'number':
      return real.from(expression.value);
    case 'symbol': {
      const { name } = expression;
      const value =
        name === 'pi'
          ? real.pi
          : name === 'e'
            ? real.e
            : name === '°'
              ? real.divide(real.pi, real.from(rational(180n)))
              : point.get(name);
      if (value === undefined) throw new Undecidable(`no value for ${name}`);
      return value;
    }
    case 'sum':
      return expression.terms.map(of).reduce((a, b) => real.add(a, b));
    case 'product':
      return expression.factors.map(of).reduce((a, b) => real.multiply(a, b));
    case 'negative':
      return real.negate(of(expression.of));
    case 'percent':
      return real.divide(of(expression.of), real.from(rational(100n)));
    case 'quotient':
      return real.divide(of(expression.top), of(expression.bottom));
    case 'root':
      return realRoot(of(expression.of), expression.degree, real);
    case 'power': {
      const base = of(expression.base);
      const exponent = exponentOf(expression.exponent);
      if (exponent !== null && isInteger(exponent)) return integerPower(base, exponent.n, real);
      return realPower(base, of(expression.exponent), real);
    }
    case 'call':
      return call(expression.name, expression.args, of, real);
    default:
      throw new Undecidable('not a number');
  }
}

function call<T>(name: string, args: readonly Expression[], of: (part: Expression) => T, real: Arithmetic<T>): T {
  const value = of(args[0]!);
  if (name === 'log' && args.length === 2) return real.divide(real.logarithm(value), real.logarithm(of(args[1]!)));
  if (args.length !== 1) throw new Undecidable(`no value for ${name}`);
  const unit = real.from(one);
  const two = real.from(rational(2n));
  const inverse = (x: T): T => real.divide(unit, x);
  switch (name) {
    case 'sin':
    case 'cos':
    case 'tan':
    case 'cot':
    case 'sec':
    case 'csc': {
      const { sine, cosine } = real.sineAndCosine(value);
      if (name === 'sin') return sine;
      if (name === 'cos') return cosine;
      if (name === 'tan') return real.divide(sine, cosine);
      if (name === 'cot') return real.divide(cosine, sine);
      return inverse(name === 'sec' ? cosine : sine);
    }
    case 'arcsin':
    case 'arccos': {
      const rest = real.squareRoot(real.add(unit, real.negate(real.multiply(value, value))));
      const sine = real.arctangent(real.divide(value, rest));
      return name === 'arcsin' ? sine : real.add(real.divide(real.pi, two), real.negate(sine));
    }
    case 'arctan':
      return real.arctangent(value);
    case 'sinh':
    case 'cosh':
    case 'tanh': {
      const [up, down] = [real.exponential(value), real.exponential(real.negate(value))];
      const [difference, total] = [real.add(up, real.negate(down)), real.add(up, down)];
      if (name === 'tanh') return real.divide(difference, total);
      return real.divide(name === 'sinh' ? difference : total, two);
    }
    case 'ln':
      return real.logarithm(value);
    case 'log10':
      return real.divide(real.logarithm(value), real.logarithm(real.from(rational(10n))));
    case 'log':
      return real.divide(real.logarithm(value), real.logarithm(real.from(unknownBase)));
    case 'exp':
      return real.exponential(value);
    default:
      throw new Undecidable(`no value for ${name}`);
  }
}
