/**
 * The answer in a model's response, by a cascade: `\boxed{}`, `####`, "the answer is", `Answer:`, and last a guess
 * from how the text ends. The first tier that is present decides; within a tier the last occurrence does. A tier that
 * is present but cannot be read in one way gives no answer rather than handing on to a weaker one.
 * The order is the paper's (§3.1); the habit of looking from the right is that of Math-Verify.
 */
import { canonicalAnswer } from './answers.js';
import { lastBoxes } from './boxed.js';
import { boxedMathematics, closingMathematics, isFormula, statedMathematics } from './extract_math.js';
import { unescaped } from './math/words.js';
import { formatNumber, readLastNumber, readNumber } from './number.js';
import type { AnswerType } from './questions.js';

export type ExtractionTier = 'boxed' | 'hashes' | 'phrase' | 'label' | 'fallback';

export interface Extraction {
  /** Canonical spelling, see `canonicalAnswer`. */
  answer: string;
  tier: ExtractionTier;
}

/** What one statement of an answer says: an answer, nothing (look on), or something unclear (stop). */
type Reading = string | 'none' | 'unclear';

/** So many statements of one kind are looked at, the last ones. */
const mostStatements = 50;

/** What states an answer is looked at for so many characters. */
const longestStatement = 2000;

/** What follows `position`: to the end of the sentence, on this line or, where this one is empty, on the next. */
function statementAt(text: string, position: number): string {
  const rest = text.slice(position, position + longestStatement).replace(/^[\s:*=]+/, '');
  const end = /[.!?](?=\s|["')\]*]*$|["')\]*]+\s)|\n/.exec(rest);
  return end === null ? rest : rest.slice(0, end.index);
}

function statementsAfter(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)]
    .slice(-mostStatements)
    .map((match) => statementAt(text, match.index + match[0].length));
}

/** Options are lettered A to P. */
const lastLetter = 'P';

const copula = String.raw`\s*,?\s*(?:\bis\b|\bequals\b|\b(?:would|will|must|should)(?:\s+(?:therefore|then|thus))?\s+be\b|=)(?:\s+(?:therefore|then|thus|indeed|simply|definitely)\b)?(?!\s+not\b)`;
const phrase = new RegExp(String.raw`\banswer\b(?:\s+(?:to|for|of)\b[^.\n:?!]{0,100}?)?${copula}`, 'gi');
const choicePhrase = new RegExp(
  String.raw`\b(?:correct|right|best)\s+(?:option|choice)\b${copula}|${phrase.source}`,
  'gi',
);
const label = /\banswer\b(?:\s*\([^)\n]{0,100}\))?[\s*_]*:/gi;

function readStatement(type: AnswerType, statement: string): Reading {
  if (type === 'latex') return statedMathematics(statement) ?? 'none';
  if (type === 'number') {
    const reading = readNumber(statement);
    return reading.kind === 'value' ? formatNumber(reading.value) : reading.kind === 'none' ? 'none' : 'unclear';
  }
  const text = statement.replace(/\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s*\{([^{}]*)\}|\*\*|\$/g, '$1').trim();
  const alone = canonicalAnswer(type, text);
  if (alone !== null) return type === 'letter' && alone > lastLetter ? 'none' : alone;
  return type === 'letter' ? readLetter(text) : readBoolean(text);
}

/** `(B) Paris`, `B. Paris`, `option B`, `B because …`; a bare `A` or `I` before a word is an English word. */
function readLetter(text: string): Reading {
  const match =
    /^(?:the\s+)?(?:(?:option|choice|letter)\s+)?["'([]*([A-P])(?:[)\].:,"']|\s+(?:because|since|as)\b|\s*$|(?=\s))/i.exec(
      text,
    );
  if (match === null) return 'none';
  const letter = match[1]!;
  const rest = text.slice(match[0].length);
  const bare = !/[)\].:,"']$|(?:because|since|as)$/i.test(match[0]) && rest.trim() !== '';
  const named = /(?:option|choice|letter)\s/i.test(match[0]);
  if (bare && !named && (letter !== letter.toUpperCase() || letter === 'A' || letter === 'I')) return 'none';
  if (/^\s*(?:or\b|and\b|\/|,|&)?\s*["'([]*[A-P]\b(?!')(?:[)\],.]|\s*$)/.test(rest)) return 'unclear';
  return letter.toUpperCase();
}

function readBoolean(text: string): Reading {
  const words = [...text.matchAll(/\b(yes|no|true|false|not)\b/gi)].map((match) => match[1]!.toLowerCase());
  if (words.length === 0) return 'none';
  const leading = /^["'(*]*(yes|no|true|false)\b(?=[\s,.;:!)"'*-]|$)/i.exec(text)?.[1]?.toLowerCase();
  const first = leading ?? (words.length === 1 ? words[0]! : 'not');
  if (first === 'not') return 'unclear';
  if (leading !== undefined && /\b(?:or|and)\b\s+["'(]*(?:yes|no|true|false)\b/i.test(text)) return 'unclear';
  return first === 'yes' || first === 'true' ? 'true' : 'false';
}

function lastReading(type: AnswerType, statements: readonly string[]): Reading {
  for (const statement of statements.toReversed()) {
    const reading = readStatement(type, statement);
    if (reading !== 'none') return reading;
  }
  return 'none';
}

/** Several boxes that belong together are one answer only where the answer is mathematics. */
function readBoxes(type: AnswerType, text: string): Reading {
  if (type === 'latex') return boxedMathematics(text) ?? 'none';
  const contents = lastBoxes(text).map(({ content }) => content);
  if (contents.some((content) => content.length > longestStatement)) return 'unclear';
  const readings = new Set(contents.map((content) => readStatement(type, content)));
  return readings.size === 0 ? 'none' : readings.size > 1 ? 'unclear' : [...readings][0]!;
}

/** `#### 18`, but not a Markdown heading such as `#### Step 2: add 5` or `#### 3. Conclusion`. */
function hashStatements(type: AnswerType, text: string): string[] {
  return [...text.matchAll(/^[^\n#]*#{4}[ \t]*([^\n#]+)$/gm)]
    .slice(-mostStatements)
    .map((match) => match[1]!.trim())
    .filter(
      (line) =>
        (type === 'latex' && isFormula(line)) ||
        (/^[-+$€£(\\.\d]*\d[\d.,/]*\D{0,24}$|^[^\w]*\w{1,5}[^\w]*$/.test(line) && !/^\d+[.)]\s+\w/.test(line)),
    );
}

function fallback(type: AnswerType, response: string): Reading {
  if (type === 'latex') return closingMathematics(response) ?? 'none';
  const text = response.slice(-longestStatement);
  const lines = text
    .replace(/\*\*|__/g, '')
    .split(/\n+|(?<=[.!?])\s+(?=[A-Z(])/)
    .map((line) => line.replace(/^\s*(?:[-*•]\s+|\(?\d{1,2}[.)]\s+|step\s+\d+\s*[:.)-]\s*)/i, '').trim())
    .filter((line) => line !== '' && !/^(?:step\s+)?\d{1,2}[.):]?$/i.test(line));
  if (type === 'number') {
    for (const line of lines.toReversed()) {
      const reading = readLastNumber(line);
      if (reading.kind === 'value') return formatNumber(reading.value);
      if (reading.kind === 'ambiguous') return 'unclear';
    }
    // A number alone, even one that looks like a list mark ("18."), is an answer.
    return canonicalAnswer('number', text.trim()) ?? 'none';
  }
  const last = lines.at(-1);
  if (last === undefined) return 'none';
  if (type === 'boolean') {
    // "No evidence supports this" does not say no: the word stands alone, or before a comma, or ends the text.
    const first = /^["'(*]*(yes|no|true|false)["')*]*(?:[,.;:!]|$)/i.exec(lines[0]!);
    if (first !== null) return canonicalAnswer('boolean', first[1]!)!;
    if (!/\b(?:yes|no|true|false)[\s.!*"')]*$/i.test(last) || /\b(?:whether|if)\b|n't\b/i.test(last)) return 'none';
    return readBoolean(last);
  }
  const alone = canonicalAnswer('letter', last);
  if (alone !== null) return alone > lastLetter ? 'none' : alone;
  const start = readLetter(last);
  if (start !== 'none' && /^["'([]*[A-P][)\].:]/.test(last)) return start;
  const named = new Set(
    [...last.matchAll(/\(([A-P])\)|\b(?:[Oo]ption|[Cc]hoice)\s+([A-P])\b/g)].map((m) => m[1] ?? m[2]!),
  );
  return named.size === 1 ? [...named][0]! : named.size > 1 ? 'unclear' : 'none';
}

/**
 * Extracts the final answer of a response.
 * @param response the text after the reasoning, or the whole text where the reasoning is not set apart.
 * @param options.fallback whether the last, guessing tier may be used; default true. Say false for a text that was cut off.
 */
export function extractAnswer(
  type: AnswerType,
  response: string,
  options: { fallback?: boolean } = {},
): Extraction | null {
  const text = unescaped(response)
    .replace(/<\|\w{1,30}\|>/g, '\n') // marks of a chat template
    .replace(/[^\S\n]+/g, ' ')
    .replace(/\n\s*\n/g, '\n\n');
  const plain = text.replace(/\*\*|__|`/g, '');
  const tiers: [ExtractionTier, () => Reading][] = [
    ['boxed', () => readBoxes(type, text)],
    ['hashes', () => lastReading(type, hashStatements(type, plain))],
    ['phrase', () => lastReading(type, statementsAfter(plain, type === 'letter' ? choicePhrase : phrase))],
    ['label', () => lastReading(type, statementsAfter(plain, label))],
  ];
  if (options.fallback ?? true) tiers.push(['fallback', () => fallback(type, text)]);
  for (const [tier, read] of tiers) {
    const reading = read();
    if (reading === 'unclear') return null;
    if (reading !== 'none') return { answer: reading, tier };
  }
  return null;
}
