/**
 * Binary floating point of 320 bits, with the elementary functions: enough digits that two answers which are not the
 * same number do not agree by accident (as exp(π√163) and an integer do to 30 digits).
 * Series and argument reductions are the textbook ones (Brent & Zimmermann, Modern Computer Arithmetic, chapter 4).
 */
import { type Rational, Undecidable } from './rational.js';

/** mantissa · 2^exponent; the mantissa has at most `precision` bits. */
export interface BigFloat {
  readonly m: bigint;
  readonly e: number;
}

const precision = 320;
/** Exponents beyond this are not followed. */
const largestExponent = 1_000_000;

/** The number of bits, or one more where rounding to a double carries. */
function bitLength(m: bigint): number {
  const size = Math.abs(Number(m));
  return size === Number.POSITIVE_INFINITY ? m.toString(2).length : Math.floor(Math.log2(size)) + 1;
}

function make(m: bigint, e: number): BigFloat {
  if (m === 0n) return zero;
  const excess = bitLength(m) - precision;
  const result = excess > 0 ? { m: m >> BigInt(excess), e: e + excess } : { m, e };
  if (Math.abs(result.e) > largestExponent) throw new Undecidable('too large or small a value');
  return result;
}

const zero: BigFloat = { m: 0n, e: 0 };
export const fromInteger = (n: bigint): BigFloat => make(n, 0);
export const fromRational = ({ n, d }: Rational): BigFloat => divide(fromInteger(n), fromInteger(d));
export const negate = (a: BigFloat): BigFloat => ({ m: -a.m, e: a.e });
export const absolute = (a: BigFloat): BigFloat => (a.m < 0n ? negate(a) : a);
export const sign = (a: BigFloat): -1 | 0 | 1 => (a.m > 0n ? 1 : a.m < 0n ? -1 : 0);

/** Position of the leading bit: |a| is about 2^magnitude, at most; −∞ for zero. */
export const magnitude = (a: BigFloat): number => (a.m === 0n ? Number.NEGATIVE_INFINITY : bitLength(a.m) + a.e);

export function add(a: BigFloat, b: BigFloat): BigFloat {
  if (a.m === 0n) return b;
  if (b.m === 0n) return a;
  const gap = magnitude(a) - magnitude(b);
  if (gap > precision + 2) return a;
  if (gap < -precision - 2) return b;
  const e = Math.min(a.e, b.e);
  return make((a.m << BigInt(a.e - e)) + (b.m << BigInt(b.e - e)), e);
}

export const subtract = (a: BigFloat, b: BigFloat): BigFloat => add(a, negate(b));
export const multiply = (a: BigFloat, b: BigFloat): BigFloat => make(a.m * b.m, a.e + b.e);

export function divide(a: BigFloat, b: BigFloat): BigFloat {
  if (b.m === 0n) throw new Undecidable('division by zero');
  if (a.m === 0n) return zero;
  const shift = Math.max(0, precision + 2 - bitLength(a.m) + bitLength(b.m));
  return make((a.m << BigInt(shift)) / b.m, a.e - b.e - shift);
}

function integerRoot(n: bigint): bigint {
  let x = 1n << BigInt(Math.ceil(bitLength(n) / 2));
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

export function squareRoot(a: BigFloat): BigFloat {
  if (a.m < 0n) throw new Undecidable('root of a negative number');
  if (a.m === 0n) return zero;
  let shift = Math.max(0, 2 * precision - bitLength(a.m));
  if ((a.e - shift) % 2 !== 0) shift++;
  return make(integerRoot(a.m << BigInt(shift)), (a.e - shift) / 2);
}

const scaled = (a: BigFloat, powerOfTwo: number): BigFloat => (a.m === 0n ? a : { m: a.m, e: a.e + powerOfTwo });

/** Sums terms, each made from the one before, until they no longer count. */
function series(first: BigFloat, next: (term: BigFloat, index: bigint) => BigFloat): BigFloat {
  let [sum, term] = [first, first];
  for (let index = 1n; term.m !== 0n && magnitude(term) > magnitude(sum) - precision - 4; index++) {
    term = next(term, index);
    sum = add(sum, term);
  }
  return sum;
}

const over = (a: BigFloat, n: bigint): BigFloat => divide(a, { m: n, e: 0 });
const unit: BigFloat = { m: 1n, e: 0 };

function arctanOfInverse(n: bigint): BigFloat {
  const first = over(unit, n);
  let power = first;
  let sum = first;
  for (let k = 3n; magnitude(power) > -precision - 8; k += 2n) {
    power = negate(over(power, n * n));
    sum = add(sum, over(power, k));
  }
  return sum;
}

/** Machin's formula. */
export const pi: BigFloat = scaled(subtract(scaled(arctanOfInverse(5n), 2), arctanOfInverse(239n)), 2);
/** ln 2 = 2 artanh(1/3). */
const ln2: BigFloat = (() => {
  let power = over({ m: 2n, e: 0 }, 3n);
  let sum = power;
  for (let k = 3n; magnitude(power) > -precision - 8; k += 2n) {
    power = over(power, 9n);
    sum = add(sum, over(power, k));
  }
  return sum;
})();

/** A double near a; only for first guesses and reductions, never for results. */
export function toNumber(a: BigFloat): number {
  if (a.m === 0n) return 0;
  const drop = Math.max(0, bitLength(a.m) - 60);
  return Number(a.m >> BigInt(drop)) * 2 ** (a.e + drop);
}

function fromNumber(x: number): BigFloat {
  let e = 0;
  let m = x;
  while (!Number.isInteger(m)) {
    m *= 2;
    e--;
  }
  return make(BigInt(m), e);
}

export function exponential(a: BigFloat): BigFloat {
  if (a.m === 0n) return unit;
  if (magnitude(a) > 18) throw new Undecidable('too large an exponent');
  const k = Math.round(toNumber(a) / Math.LN2);
  const rest = subtract(a, multiply(ln2, fromInteger(BigInt(k))));
  // e^r = (e^(r/256))^256 makes the series short.
  const small = scaled(rest, -8);
  let result = series(unit, (term, index) => over(multiply(term, small), index));
  for (let i = 0; i < 8; i++) result = multiply(result, result);
  return scaled(result, k);
}

export function logarithm(a: BigFloat): BigFloat {
  if (a.m <= 0n) throw new Undecidable('logarithm of a number that is not positive');
  const size = magnitude(a);
  const mantissa = scaled(a, -size); // in [1/2, 1)
  let y = fromNumber(Math.log(toNumber(mantissa)));
  // Halley's iteration: each step triples the correct digits.
  for (let i = 0; i < 3; i++) {
    const guess = exponential(y);
    y = add(y, scaled(divide(subtract(mantissa, guess), add(mantissa, guess)), 1));
  }
  return add(y, multiply(ln2, fromInteger(BigInt(size))));
}

export function sineAndCosine(a: BigFloat): { sine: BigFloat; cosine: BigFloat } {
  if (a.m === 0n) return { sine: zero, cosine: unit };
  if (magnitude(a) > 40) throw new Undecidable('too large an angle');
  const quarter = scaled(pi, -1);
  const turns = BigInt(Math.round(toNumber(divide(a, quarter))));
  const rest = subtract(a, multiply(quarter, fromInteger(turns)));
  const square = negate(multiply(rest, rest));
  const sine = series(rest, (term, k) => over(multiply(term, square), 2n * k * (2n * k + 1n)));
  const cosine = series(unit, (term, k) => over(multiply(term, square), 2n * k * (2n * k - 1n)));
  const place = ((turns % 4n) + 4n) % 4n;
  if (place === 0n) return { sine, cosine };
  if (place === 1n) return { sine: cosine, cosine: negate(sine) };
  if (place === 2n) return { sine: negate(sine), cosine: negate(cosine) };
  return { sine: negate(cosine), cosine: sine };
}

export function arctangent(a: BigFloat): BigFloat {
  if (magnitude(a) > 200) throw new Undecidable('too large a tangent');
  let y = fromNumber(Math.atan(toNumber(a)));
  for (let i = 0; i < 3; i++) {
    const { sine, cosine } = sineAndCosine(y);
    const z = divide(subtract(multiply(a, cosine), sine), add(multiply(a, sine), cosine));
    y = add(y, subtract(z, over(multiply(z, multiply(z, z)), 3n)));
  }
  return y;
}

/** Beyond this size, about 10^29, a term of the size of one is too far from the first digits. */
const largestSeen = 96;

/**
 * Whether a and b agree in their first `bits` bits. False where that says little: for values so small that only rounding
 * may be left of them, or so large that 1 more or less is not among those bits.
 */
export function agree(a: BigFloat, b: BigFloat, bits: number): boolean {
  const size = Math.max(magnitude(a), magnitude(b));
  if (size < -bits || size > largestSeen) return false;
  return magnitude(subtract(a, b)) <= size - bits;
}
