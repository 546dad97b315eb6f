/**
 * Equality by values at seeded points: in double precision at all of them, which finds most differences, and to 224 bits
 * at a few. Only for what is smooth wherever it is defined; a variable takes both signs and sizes from 0.1 to 1000.
 */
import { hashToInteger } from '../draws.js';
import * as bigFloat from './big_float.js';
import { type BigFloat, fromInteger, fromRational } from './big_float.js';
import { type Arithmetic, evaluate } from './evaluate.js';
import { type Expression, partsOf, variablesOf } from './expression.js';
import { type Rational, rational, Undecidable } from './rational.js';

const agreeingBits = 224;
/** In double precision, where cancellation may cost most digits. */
const agreeingShare = 1e-4;
const points = 16;
const fewestPoints = 6;
const precisePoints = 2;
const mostVariables = 6;
/** Parts of an expression that is computed at all. */
const mostParts = 200;

const precise: Arithmetic<BigFloat> = { ...bigFloat, from: fromRational, e: bigFloat.exponential(fromInteger(1n)) };

const double: Arithmetic<number> = {
  from: ({ n, d }) => Number(n) / Number(d),
  pi: Math.PI,
  e: Math.E,
  add: (a, b) => a + b,
  negate: (a) => -a,
  multiply: (a, b) => a * b,
  divide: (a, b) => a / b,
  sign: Math.sign,
  squareRoot: Math.sqrt,
  exponential: Math.exp,
  logarithm: Math.log,
  sineAndCosine: (a) => ({ sine: Math.sin(a), cosine: Math.cos(a) }),
  arctangent: Math.atan,
};

function valueAt<T>(expression: Expression, point: ReadonlyMap<string, T>, arithmetic: Arithmetic<T>): T | null {
  try {
    return evaluate(expression, point, arithmetic);
  } catch (error) {
    if (error instanceof Undecidable) return null;
    throw error;
  }
}

const sizes = [100n, 1000n, 10_000n, 100_000n];

/**
 * Of one variable, 16 points take every size with either sign; several variables are out of step with one another.
 * @param seeds one a variable
 */
function pointAt(index: number, seeds: ReadonlyMap<string, number>): Map<string, Rational> {
  const value = (seed: number): Rational => {
    const step = index + (seed % 64);
    const n = BigInt(10_007 + ((seed + index * 36_277) % 89_989)) * sizes[step % sizes.length]!;
    const negative = Math.floor(step / sizes.length) % 2 === 1;
    return rational(negative ? -n : n, 10_000_000n);
  };
  return new Map([...seeds].map(([name, seed]) => [name, value(seed)]));
}

const sizeOf = (expression: Expression): number => partsOf(expression).reduce((size, part) => size + sizeOf(part), 1);

/** The value of an expression without variables, or null where it has none that is real. */
export const realValue = (expression: Expression): BigFloat | null =>
  sizeOf(expression) > mostParts ? null : valueAt(expression, new Map(), precise);

const evaluated = <T>(point: ReadonlyMap<string, Rational>, { from }: Arithmetic<T>): Map<string, T> =>
  new Map([...point].map(([name, value]) => [name, from(value)]));

/** null: not defined for either. */
function agreeRoughly(a: Expression, b: Expression, point: ReadonlyMap<string, Rational>): boolean | null {
  const at = evaluated(point, double);
  const [x, y] = [valueAt(a, at, double) ?? Number.NaN, valueAt(b, at, double) ?? Number.NaN];
  if (!Number.isFinite(x) && !Number.isFinite(y)) return null;
  return Math.abs(x - y) <= agreeingShare * Math.max(Math.abs(x), Math.abs(y));
}

function agreePrecisely(a: Expression, b: Expression, point: ReadonlyMap<string, Rational>): boolean {
  const at = evaluated(point, precise);
  const x = valueAt(a, at, precise);
  const y = x === null ? null : valueAt(b, at, precise);
  return x !== null && y !== null && bigFloat.agree(x, y, agreeingBits);
}

/** Whether both have the same value at every point tried, and were defined at enough of them, and at the same ones. */
export function agreeAtSamples(a: Expression, b: Expression): boolean {
  const variables = [...new Set([...variablesOf(a), ...variablesOf(b)])].sort();
  if (variables.length > mostVariables || sizeOf(a) + sizeOf(b) > mostParts) return false;
  if (variables.length === 0) return agreeRoughly(a, b, new Map()) !== false && agreePrecisely(a, b, new Map());
  const seeds = new Map(variables.map((name) => [name, hashToInteger('sample', name)]));
  const defined: Map<string, Rational>[] = [];
  for (let index = 0; index < points; index++) {
    const point = pointAt(index, seeds);
    const agreed = agreeRoughly(a, b, point);
    if (agreed === false) return false;
    if (agreed) defined.push(point);
  }
  if (defined.length < fewestPoints) return false;
  return defined.slice(0, precisePoints).every((point) => agreePrecisely(a, b, point));
}
