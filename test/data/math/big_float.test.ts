import { expect, it } from 'vitest';
import * as real from '../../../src/data/math/big_float.js';
import { rational } from '../../../src/data/math/rational.js';

/** The first 60 digits behind the point, not rounded. */
function digits(value: real.BigFloat): string {
  const scaled = real.multiply(value, real.fromInteger(10n ** 60n));
  const n = scaled.e >= 0 ? scaled.m << BigInt(scaled.e) : scaled.m >> BigInt(-scaled.e);
  const text = n.toString().padStart(61, '0');
  return `${text.slice(0, -60)}.${text.slice(-60)}`;
}

const of = (n: bigint, d = 1n) => real.fromRational(rational(n, d));

// Reference digits: OEIS A000796, A001113, A002162, A002193, A049541 and values computed with mpmath at 100 digits.
it.each<[string, real.BigFloat, string]>([
  ['π', real.pi, '3.141592653589793238462643383279502884197169399375105820974944'],
  ['e', real.exponential(of(1n)), '2.718281828459045235360287471352662497757247093699959574966967'],
  ['ln 2', real.logarithm(of(2n)), '0.693147180559945309417232121458176568075500134360255254120680'],
  ['√2', real.squareRoot(of(2n)), '1.414213562373095048801688724209698078569671875376948073176679'],
  ['arctan 1', real.arctangent(of(1n)), '0.785398163397448309615660845819875721049292349843776455243736'],
  ['sin 1', real.sineAndCosine(of(1n)).sine, '0.841470984807896506652502321630298999622563060798371065672751'],
  ['cos 1', real.sineAndCosine(of(1n)).cosine, '0.540302305868139717400936607442976603732310420617922227670097'],
])('%s to 60 digits', (_, value, expected) => {
  expect(digits(value)).toBe(expected);
});

it('keeps the laws of the functions far from the origin', () => {
  for (const [n, d] of [
    [1n, 7n],
    [22n, 7n],
    [1000n, 3n],
    [1n, 100_000n],
  ] as const) {
    const x = of(n, d);
    expect(real.agree(real.logarithm(real.exponential(x)), x, 200)).toBe(true);
    const { sine, cosine } = real.sineAndCosine(x);
    const one = real.add(real.multiply(sine, sine), real.multiply(cosine, cosine));
    expect(real.agree(one, of(1n), 240)).toBe(true);
    const root = real.squareRoot(x);
    expect(real.agree(real.multiply(root, root), x, 240)).toBe(true);
  }
});

it('tells apart what doubles cannot, and says nothing of what is only rounding', () => {
  const near = real.add(of(1n), of(1n, 10n ** 40n));
  expect(real.agree(near, of(1n), 160)).toBe(false);
  expect(real.agree(of(10n ** 40n), of(10n ** 40n + 1n), 120)).toBe(false);
  expect(real.agree(near, of(1n), 120)).toBe(true);
  expect(real.agree(of(1n, 10n ** 70n), of(2n, 10n ** 70n), 160)).toBe(false);
});
