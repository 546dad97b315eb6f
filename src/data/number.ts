/**
 * Numbers as models write them, read exactly: `1,234.50`, `$18`, `-3/4`, `2 1/2`, `\frac{3}{4}`, `50%`, `3 million`.
 *
 * What can be read in two ways is 'ambiguous' and never guessed (`5 or 6`, `12 + 6` with no result, `1,23`,
 * `2 hours 30 minutes`, `3x`): a wrong answer taken for a right one would poison a training set, a right one
 * that is missed costs one more sample.
 */

import { rationalAnswer } from './math/rational_answer.js';
import { readNumberWords } from './number_words.js';

/** An exact number n/d with d > 0, in lowest terms. `percent` says that it was written with a percent sign. */
export interface NumberValue {
  n: bigint;
  d: bigint;
  percent: boolean;
}

interface NumberToken {
  start: number;
  end: number;
  /** null: written in a way that is not a plain number. */
  value: NumberValue | null;
}

export type NumberReading = { kind: 'none' } | { kind: 'ambiguous' } | { kind: 'value'; value: NumberValue };

const multipliers: Record<string, bigint> = {
  dozen: 12n,
  hundred: 100n,
  thousand: 1000n,
  million: 1_000_000n,
  billion: 1_000_000_000n,
  trillion: 1_000_000_000_000n,
};

/** Letters that may stand right behind a number as a unit; any other single letter reads as a variable. */
const attachedUnit = /^(?:[mgslLhdCFWVAJN]|[a-z]{2,}|k[gmWJ]|m[LW]|GB|MB|KB|TB|AM|PM|USD|EUR|GBP)$/;

const vulgar: Record<string, string> = {
  '½': '1/2',
  '⅓': '1/3',
  '⅔': '2/3',
  '¼': '1/4',
  '¾': '3/4',
  '⅕': '1/5',
  '⅙': '1/6',
  '⅛': '1/8',
  '⅜': '3/8',
  '⅝': '5/8',
  '⅞': '7/8',
};

/** Removes markup, LaTeX dressing and currency signs, and turns \frac into a slash. */
export function plainText(text: string): string {
  return (
    text
      .replace(/<<[^<>]*>>/g, '') // calculator marks of GSM8K
      .replace(/\*\*|__|`/g, '')
      .replace(/[\u2212\u2010\u2011]/g, '-')
      .replace(/\\(?:text|mathrm|mathbf|textbf|boxed|operatorname)\s*\{([^{}]*)\}/g, '$1')
      .replace(
        /(\d?)\s*\\[dt]?frac\s*\{\s*(-?[\d.,]+)\s*\}\s*\{\s*([\d.,]+)\s*\}/g,
        (_, before: string, n: string, d: string) => (before === '' ? `${n}/${d}` : `${before} ${n}/${d}`),
      )
      .replace(/\\times|\\cdot|[×·]/g, '*')
      .replace(/\\div|÷/g, '/')
      .replace(/\\[,!;: ]|\\left|\\right|\\[()[\]]/g, '')
      .replace(/\{,\}/g, ',')
      .replace(/(\d)[\u202f\u00a0\u2009](\d{3})(?!\d)/g, '$1$2')
      .replace(/\\?[$€£¥₹]/g, '')
      .replace(/\\%/g, '%')
      .replace(/\^\s*(?:\\circ|\{\s*\\circ\s*\})|°/g, '')
      .replace(/\s?[½⅓⅔¼¾⅕⅙⅛⅜⅝⅞]/g, (c) => ` ${vulgar[c.trim()]}`)
      .replace(/(?<![\d.,])[1-9]\d{0,2}(?: \d{3})+(?![\d,./])/g, (digits) => digits.replaceAll(' ', ''))
      // Square and cubic units.
      .replace(/([A-Za-z]{2,}|\d ?[mM])\s?(?:\^\s?\{?[23]\}?|[²³])/g, '$1')
  );
}

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a < 0n ? -a : a, b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x === 0n ? 1n : x;
}

function fraction(n: bigint, d: bigint, percent: boolean): NumberValue {
  const divisor = gcd(n, d);
  return { n: n / divisor, d: d / divisor, percent };
}

function tokenAt(s: string, start: number, literal: string): NumberToken {
  const digits = literal.replace(/,+$/, '');
  let end = start + digits.length;
  const refused = (): NumberToken => ({ start, end, value: null });
  const [whole = '', decimals = ''] = digits.split('.');
  if (whole.includes(',') && !/^\d{1,3}(?:,\d{3})+$/.test(whole)) return refused();
  if (/[\p{L}_√^#/]$/u.test(s.slice(0, start)) || /\d\.$/.test(s.slice(0, start))) return refused();
  let n = BigInt(whole.replaceAll(',', '') + decimals);
  let d = 10n ** BigInt(decimals.length);

  const take = (pattern: RegExp): RegExpExecArray | null => {
    const match = pattern.exec(s.slice(end));
    if (match !== null) end += match[0].length;
    return match;
  };
  const power = take(/^[eE]([+-]?\d{1,3})(?![\w.])/) ?? take(/^\s*[*x]\s*10\s*\^\s*\{?\s*([+-]?\d{1,3})\s*\}?/);
  if (power !== null) {
    const exponent = Number(power[1]);
    if (exponent >= 0) n *= 10n ** BigInt(exponent);
    else d *= 10n ** BigInt(-exponent);
  } else {
    const mixed = decimals === '' ? take(/^\s+(\d{1,6})\s*\/\s*(\d{1,6})(?![\d/]|\.\d)/) : null;
    const over = mixed === null ? take(/^\s*\/\s*(\d[\d,]*)(?!\d|\.\d)/) : null;
    if (mixed !== null) {
      const denominator = BigInt(mixed[2]!);
      if (denominator === 0n) return refused();
      n = n * denominator + BigInt(mixed[1]!);
      d *= denominator;
    } else if (over !== null) {
      const denominator = BigInt(over[1]!.replaceAll(',', ''));
      if (denominator === 0n || /^\s*\//.test(s.slice(end))) return refused();
      d *= denominator;
    }
  }
  if (/^[\d²³⁴π√^_:]|^\.\d/.test(s.slice(end)) && !/^:(?!\d)/.test(s.slice(end))) return refused();
  const multiplier = take(/^\s*(dozen|hundred|thousand|million|billion|trillion)\b/i);
  if (multiplier !== null) n *= multipliers[multiplier[1]!.toLowerCase()]!;
  const percent = take(/^\s*(?:%|percent\b)/i) !== null;
  const attached = /^\p{L}+/u.exec(s.slice(end))?.[0];
  if (attached !== undefined && attached !== 'x' && !attachedUnit.test(attached)) return refused();
  if (attached !== undefined && /^(?:st|nd|rd|th)$/.test(attached)) return refused();
  if (attached === 'x' && !/^x\s*\d/.test(s.slice(end))) return refused();

  // A minus sign belongs to the number unless it stands between two operands or inside a word.
  const before = s.slice(0, start);
  const sign = /([-+])$/.exec(before);
  if (sign !== null && !/[\p{L}\d)%]\s*[-+]$/u.test(before.replace(/(?:is|are|be|of|to|=|:)\s+(?=[-+]$)/, ''))) {
    if (sign[1] === '-') n = -n;
  } else if (/\b(?:minus|negative)\s+$/i.test(before)) n = -n;
  return { start, end, value: fraction(n, d, percent) };
}

function tokens(s: string): NumberToken[] {
  const found: NumberToken[] = [];
  const pattern = /\d[\d,]*(?:\.\d+)?|\.\d+/g;
  for (let match = pattern.exec(s); match !== null; match = pattern.exec(s)) {
    const token = tokenAt(s, match.index, match[0]);
    found.push(token);
    pattern.lastIndex = Math.max(token.end, match.index + 1);
  }
  return found;
}

const unitWords = String.raw`(?:\s*[\p{L}'%]+){0,3}?`;
const operatorFollows = new RegExp(
  String.raw`^${unitWords}\s*(?:[+*^÷]|/(?!\s*(?:[a-z]{2,}|[hsmLgd]\b))|!\S|x\s*[\d(]|-\s*[\d(]|=)`,
  'u',
);
const secondNumberFollows = new RegExp(
  String.raw`^(?:${unitWords}\s*(?:\bor\b|\band\b|\bto\b|-|–|—|&)\s*-?[\d.]|\s+[\p{L}]+\s+\d|\s+\d|\s*(?:and (?:a|one) (?:half|quarter|third)\b|out of\b|in \d|(?:more|less|fewer|greater|larger|smaller) than\b|times (?:as|more|the|that|\d))|\s*,\s*-?\d)`,
  'u',
);
const hedgedBefore =
  /(?:(?:more|less|greater|fewer|larger|smaller|higher|lower) than|at (?:least|most)|\bnot|n't(?: be)?|between|from)\s*$/i;

function readFrom(s: string, token: NumberToken): NumberReading {
  if (token.value === null || hedgedBefore.test(s.slice(0, token.start))) return { kind: 'ambiguous' };
  const rest = s.slice(token.end);
  if (operatorFollows.test(rest)) {
    // An expression: its value is what stands behind its last equals sign.
    const clause = /^[^,;()]*?(?=[,;(]|\b(?:because|since|as)\b|$)/.exec(rest)?.[0] ?? rest;
    const equals = clause.lastIndexOf('=');
    if (equals < 0) return { kind: 'ambiguous' };
    const result = clause.slice(equals + 1) + rest.slice(clause.length);
    return readNumber(result);
  }
  if (secondNumberFollows.test(rest)) return { kind: 'ambiguous' };
  return { kind: 'value', value: token.value };
}

/** LaTeX and signs that are left when all that dresses a number is gone: what they do to it is for mathematics to say. */
const mathematical = /\\[A-Za-z]|[√π^<>≤≥±|∞]/;

/** The exact value of mathematics; ambiguous where it has none. */
function readMathematics(text: string): NumberReading {
  const answer = rationalAnswer(text);
  return answer === null
    ? { kind: 'ambiguous' }
    : { kind: 'value', value: { ...answer.value, percent: answer.percent } };
}

/** The number that a short statement of an answer gives: the first one, or the result of the expression there. */
export function readNumber(text: string): NumberReading {
  const s = plainText(text);
  if (mathematical.test(s)) return readMathematics(text);
  const first = tokens(s)[0];
  if (first === undefined) {
    const words = readNumberWords(s);
    return words === null ? { kind: 'none' } : { kind: 'value', value: { n: words, d: 1n, percent: false } };
  }
  // A bullet or a minus sign?
  if (/^\s*[-+]\s+$/.test(s.slice(0, first.start))) return { kind: 'ambiguous' };
  return readFrom(s, first);
}

/** Between two numbers of one quantity. */
const compound =
  /^\s*(?:[\p{L}]+,?\s+and|hours?|hrs?|h|minutes?|mins?|feet|foot|ft|dollars?|pounds?|lbs?|years?|months?|weeks?|days?|kg|m|km)\s*,?\s*$/u;

/** The number that a line of running text ends with: the result behind its last `=`, else its last number. */
export function readLastNumber(text: string): NumberReading {
  const s = plainText(text);
  const all = tokens(s);
  const last = all.at(-1);
  if (last === undefined) return { kind: 'none' };
  const equals = s.lastIndexOf('=');
  const result = equals < 0 ? undefined : all.find((token) => token.start > equals);
  if (mathematical.test(result === undefined ? s : s.slice(equals))) {
    return readMathematics(equals < 0 ? text : text.slice(text.lastIndexOf('=') + 1));
  }
  // "2 hours and 30 minutes" is not 30.
  const earlier = all.at(-2);
  if (result === undefined && earlier !== undefined && compound.test(s.slice(earlier.end, last.start))) {
    return { kind: 'ambiguous' };
  }
  return readFrom(s, result ?? last);
}

/** `18`, `-2.5`, `7/3`, `50%`: one spelling per number. */
export function formatNumber(value: NumberValue): string {
  const { n, d } = value;
  const suffix = value.percent ? '%' : '';
  if (d === 1n) return `${n}${suffix}`;
  let places = 0;
  let scale = 1n;
  while (places < 30 && scale % d !== 0n) {
    scale *= 10n;
    places++;
  }
  if (scale % d !== 0n) return `${n}/${d}${suffix}`;
  const digits = ((n < 0n ? -n : n) * (scale / d)).toString().padStart(places + 1, '0');
  return `${n < 0n ? '-' : ''}${digits.slice(0, -places)}.${digits.slice(-places)}${suffix}`;
}

/**
 * Exact equality. A percentage equals the plain number of the same value (50% = 0.5), and, where the plain number
 * cannot be meant as a share because its size is above 1, the number before its sign (50% for an expected 50).
 */
export function numbersEqual(a: NumberValue, b: NumberValue): boolean {
  const same = a.n * b.d === b.n * a.d;
  if (a.percent === b.percent) return same;
  const [share, plain] = a.percent ? [a, b] : [b, a];
  if (share.n * plain.d === plain.n * share.d * 100n) return true;
  const size = plain.n < 0n ? -plain.n : plain.n;
  return same && size > plain.d;
}
