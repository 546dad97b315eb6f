/** Random arithmetic, written in LaTeX in random ways, beside its value as computed here. */
import { expect, it } from 'vitest';
import { Draws } from '../../../src/data/draws.js';
import { sameMathematics } from '../../../src/data/math/compare.js';

interface Written {
  /** n/d, d > 0 */
  n: bigint;
  d: bigint;
  latex: string;
  /** How tightly it is bound: 0 a sum, 1 a product, 2 signed, 3 an atom. */
  level: 0 | 1 | 2 | 3;
}

const atLeast = (part: Written, level: number): string =>
  part.level >= level ? part.latex : `\\left( ${part.latex} \\right)`;

const positive = (n: bigint, d: bigint): [bigint, bigint] => (d < 0n ? [-n, -d] : [n, d]);

function random(draws: Draws, depth: number): Written {
  const kind = depth === 0 ? 0 : draws.integer(0, 7);
  if (kind === 0) {
    const n = draws.integer(0, 12);
    return { n: BigInt(n), d: 1n, latex: `${n}`, level: 3 };
  }
  const [a, b] = [random(draws, depth - 1), random(draws, depth - 1)];
  switch (kind) {
    case 1:
      return { n: a.n * b.d + b.n * a.d, d: a.d * b.d, latex: `${a.latex} + ${atLeast(b, 1)}`, level: 0 };
    case 2:
      return { n: a.n * b.d - b.n * a.d, d: a.d * b.d, latex: `${a.latex} - ${atLeast(b, 1)}`, level: 0 };
    case 3: {
      const dot = draws.pick(['\\cdot', '\\times', '*']);
      return { n: a.n * b.n, d: a.d * b.d, latex: `${atLeast(a, 1)} ${dot} ${atLeast(b, 3)}`, level: 1 };
    }
    case 4: {
      if (b.n === 0n) return a;
      const [n, d] = positive(a.n * b.d, a.d * b.n);
      return { n, d, latex: `\\${draws.pick(['', 'd', 't'])}frac{${a.latex}}{${b.latex}}`, level: 1 };
    }
    case 5: {
      const exponent = draws.integer(0, 3);
      if (a.n === 0n && exponent === 0) return a;
      const power = BigInt(exponent);
      return { n: a.n ** power, d: a.d ** power, latex: `${atLeast(a, 3)}^{${exponent}}`, level: 1 };
    }
    case 6:
      return { n: -a.n, d: a.d, latex: `-${atLeast(a, 1)}`, level: 0 };
    default: {
      if (b.n === 0n) return a;
      const [n, d] = positive(a.n * b.d, a.d * b.n);
      return { n, d, latex: `${atLeast(a, 3)} / ${atLeast(b, 3)}`, level: 1 };
    }
  }
}

const written = Array.from({ length: 600 }, (_, index) => random(new Draws('random arithmetic', index), 4));

it('equals its value, and no value near it', () => {
  for (const { n, d, latex } of written) {
    expect([latex, sameMathematics(`\\frac{${n}}{${d}}`, latex)]).toEqual([latex, true]);
    for (const [m, k] of [
      [n + 1n, d],
      [n, d + 1n],
      [-n, d],
      [n * 10n, d],
    ] as const) {
      if (m * d !== n * k)
        expect([latex, m, k, sameMathematics(`\\frac{${m}}{${k}}`, latex)]).toEqual([latex, m, k, false]);
    }
  }
});

it('knows a product of factors by its coefficients', () => {
  for (let index = 0; index < 100; index++) {
    const draws = new Draws('random factors', index);
    const factors = Array.from(
      { length: draws.integer(1, 5) },
      () => [draws.integer(-9, 9), draws.integer(1, 9)] as const,
    );
    let coefficients = [1];
    for (const [constant, slope] of factors) {
      const next = new Array<number>(coefficients.length + 1).fill(0);
      for (const [power, coefficient] of coefficients.entries()) {
        next[power]! += coefficient * constant;
        next[power + 1]! += coefficient * slope;
      }
      coefficients = next;
    }
    const product = factors.map(([constant, slope]) => `(${slope}x ${constant < 0 ? '-' : '+'} ${Math.abs(constant)})`);
    const expanded = (values: readonly number[]): string =>
      values.map((value, power) => `${value < 0 ? '-' : '+'} ${Math.abs(value)}x^{${power}}`).join(' ');
    expect(sameMathematics(expanded(coefficients), product.join(''))).toBe(true);
    const place = draws.integer(0, coefficients.length - 1);
    const wrong = coefficients.map((value, power) => (power === place ? value + 1 : value));
    expect(sameMathematics(expanded(wrong), product.join(''))).toBe(false);
  }
});
