/** One spelling per answer, and equality between an expected answer and a given one. Exact; no tolerance. */
import { sameMathematics } from './math/compare.js';
import { longestText } from './math/tokens.js';
import { tidy } from './math/words.js';
import { formatNumber, numbersEqual, readNumber } from './number.js';
import type { AnswerType } from './questions.js';

/**
 * The canonical spelling of an answer that stands alone: number `18`, `7/2`, `50%`; letter `C`; boolean `true`; LaTeX as
 * it stands, without what frames it.
 * @returns null where the text is not one answer of that type.
 */
export function canonicalAnswer(type: AnswerType, text: string): string | null {
  if (type === 'number') {
    const reading = readNumber(text);
    return reading.kind === 'value' ? formatNumber(reading.value) : null;
  }
  if (type === 'latex') {
    const result = tidy(text);
    return result === '' || result.length > longestText ? null : result;
  }
  if (type === 'letter') return /^[\s("'[*]*([A-Za-z])[\s)"'\].:*]*$/.exec(text)?.[1]?.toUpperCase() ?? null;
  const word = /^[\s("'*]*(yes|no|true|false)[\s)"'.!*]*$/i.exec(text)?.[1]?.toLowerCase();
  return word === undefined ? null : word === 'yes' || word === 'true' ? 'true' : 'false';
}

/**
 * Whether a given answer is the expected one. Both are spellings that `canonicalAnswer` reads; what cannot be
 * read equals nothing.
 */
export function answersEqual(type: AnswerType, expected: string, given: string): boolean {
  if (type === 'latex') return sameMathematics(expected, given);
  if (type !== 'number') {
    const canonical = canonicalAnswer(type, expected);
    return canonical !== null && canonical === canonicalAnswer(type, given);
  }
  const [a, b] = [readNumber(expected), readNumber(given)];
  return a.kind === 'value' && b.kind === 'value' && numbersEqual(a.value, b.value);
}
