/**
 * The final answer of a response in LaTeX or plain mathematics, as text: the last `\boxed{}`, `####`, what stands behind
 * "the answer is" or `Answer:`, and last the mathematics or the number that the text ends with.
 */
import { lastBoxes } from './boxed.js';
import { longestText } from './math/tokens.js';
import { isBalanced, tidy } from './math/words.js';
import { formatNumber, readLastNumber } from './number.js';

interface Span {
  start: number;
  end: number;
  content: string;
}

const environments: [open: string, close: string][] = [
  ['$$', '$$'],
  ['\\[', '\\]'],
  ['\\(', '\\)'],
  ['$', '$'],
];

/** Two sums of money look like the ends of a formula: `$10 and then $5`. */
const isMoney = (content: string): boolean => /^\s*\d[\d,.]*\s+[A-Za-z]{2,}/.test(content) && !content.includes('\\');

/** Formulas in the text, in order. A formula within a line stays on it. */
function formulas(text: string): Span[] {
  const found: Span[] = [];
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c !== '$' && c !== '\\') continue;
    const environment = environments.find(([open]) => text.startsWith(open, at));
    if (environment === undefined) {
      at++; // an escaped character
      continue;
    }
    const [open, close] = environment;
    const inside = at + open.length;
    const ahead = text.slice(inside, inside + longestText);
    let length = ahead.indexOf(close);
    while (close === '$' && length > 0 && ahead[length - 1] === '\\') length = ahead.indexOf(close, length + 1);
    if (length < 0) continue;
    const content = ahead.slice(0, length);
    const end = inside + length;
    const inline = close === '$' || close === '\\)';
    if (content.trim() === '' || (inline && content.includes('\n')) || (close === '$' && isMoney(content))) continue;
    found.push({ start: at, end: end + close.length, content });
    at = end + close.length - 1;
  }
  return found;
}

const conjunction = /^\s*(?:,|;|,?\s*and|,?\s*or)\s*$/i;

/** The formulas that belong to one answer, the last of `spans` among them, as one text. */
function joined(text: string, spans: readonly Span[], first: number, last: number): string {
  const parts = spans.slice(first, last + 1).map(({ content }) => content.trim());
  const behind = text.slice(spans[last]!.end, spans[last]!.end + 12);
  const percent = /^\s?(?:\\?%|percent|pct)/.test(behind) ? '\\%' : '';
  return parts.join(', ') + percent;
}

/** The last line of a formula of several, what stands behind its alignment mark. */
function lastLine(formula: string): string {
  if (/\\begin\s*\{[a-zA-Z]*(?:matrix|array|cases)/.test(formula)) return formula;
  const lines = formula.split(/\\\\|\n/).filter((line) => line.trim() !== '');
  return (lines.at(-1) ?? '').replace(/&/g, ' ').replace(/^\s*=/, '');
}

/**
 * What a sentence that states the answer says: its formula, with those joined to it, where it starts with one; what
 * stands behind its last "is"; else all of it, or its only number.
 */
export function statedMathematics(statement: string): string | null {
  const spans = formulas(statement);
  if (spans.length > 0 && /^[\s"'(]*$/.test(statement.slice(0, spans[0]!.start))) {
    let last = 0;
    while (last + 1 < spans.length && conjunction.test(statement.slice(spans[last]!.end, spans[last + 1]!.start)))
      last++;
    const rest = statement.slice(spans[last]!.end);
    if (!/\b(?:is|are|equals)\b/.test(rest)) return orNull(joined(statement, spans, 0, last));
  }
  const verbs = [...statement.matchAll(/\b(?:is|are|equals|be)\b:?\s+/g)].filter(
    ({ index }) => !spans.some(({ start, end }) => start <= index && index < end),
  );
  const verb = verbs.at(-1);
  if (verb !== undefined) return statedMathematics(statement.slice(verb.index + verb[0].length));
  const plain = statement
    .replace(/,?\s+(?:because|since|as|so|which|where|when)\b.*$/s, '')
    .replace(/^["']|["']$/g, '');
  if (isFormula(plain) || !/\d/.test(plain)) return orNull(plain);
  const number = readLastNumber(plain);
  return number.kind === 'value' && (plain.match(/\d[\d.,]*/g) ?? []).length === 1
    ? formatNumber(number.value)
    : orNull(plain);
}

/** The boxes of the answer as one text. */
export function boxedMathematics(text: string): string | null {
  const boxes = lastBoxes(text);
  const last = boxes.at(-1);
  if (last === undefined) return null;
  const percent = /^[\s$]{0,3}(?:\\?%|percent|pct)/.test(text.slice(last.end, last.end + 12)) ? '\\%' : '';
  return orNull(boxes.map(({ content }) => content).join(', ') + percent);
}

/** How far from its end a text is searched for a formula. */
const closingLength = 4000;

/** The last formula with those joined to it; where there is none, the text if it is a formula, or its last number. */
export function closingMathematics(response: string): string | null {
  const text = response.slice(-closingLength);
  const spans = formulas(text);
  const last = spans.length - 1;
  const behind = last < 0 ? text : text.slice(spans[last]!.end);
  const line = behind.split('\n').findLast((candidate) => /\d/.test(candidate)) ?? '';
  if (/\\\(|\$\s*\n/.test(behind)) return null; // a formula that does not end
  if (last < 0 && isFormula(text.trim())) return orNull(text);
  if (last < 0 && isFormula(line)) return orNull(line);
  if (last < 0 || line !== '') {
    const number = readLastNumber(line);
    return number.kind === 'value' ? formatNumber(number.value) : null;
  }
  let first = last;
  while (first > 0 && conjunction.test(text.slice(spans[first - 1]!.end, spans[first]!.start))) first--;
  return orNull(first === last ? lastLine(joined(text, spans, first, last)) : joined(text, spans, first, last));
}

/** A text that is mathematics from end to end, such as `x = 3` or `1/2`. */
export function isFormula(text: string): boolean {
  if (text.length > 300 || !isBalanced(text) || !/[\d\\=]/.test(text)) return false;
  const words = text.replace(
    /\\(?:text|mbox|mathrm)\s*\{[^{}]*\}|\\[A-Za-z]+|\b(?:sin|cos|tan|log|ln|sqrt|pi|and|or)\b/g,
    ' ',
  );
  return !/[a-z]{2,}|['’]\p{L}/u.test(words);
}

const orNull = (text: string): string | null => {
  const result = tidy(text);
  return result === '' ? null : result;
};
