/** Cuts LaTeX or plain mathematics into tokens, in one pass over the text. */
import { Undecidable } from './rational.js';
import {
  characters,
  dressing,
  functionNames,
  greek,
  known,
  names,
  plainNames,
  structural,
  superscripts,
  symbols,
  unitWords,
  variants,
  withEquals,
  wordCommands,
} from './vocabulary.js';

export interface Token {
  /**
   * number: digits, in `text` without separators · name: a variable, a constant, a function or ∞, ∅, ℝ …
   * symbol: an operator, a relation, a bracket or a separator · command: LaTeX with arguments, without its backslash
   * text: words, in \text{…} or plain.
   */
  kind: 'number' | 'name' | 'symbol' | 'command' | 'text';
  text: string;
}

/** How a comma between digits is read: `1,234` as one number or as a list, `1,5` as a list or a decimal. */
export type CommaReading = 'thousands' | 'list' | 'decimal';

export const longestText = 2000;
const mostTokens = 800;

const thousands =
  /[1-9]\d{0,2}(?:(?:,| ?\{ ?, ?\} ?|\\!|,\\!\s*|\\,|,\\,|[ \u00a0\u202f\u2009])\d{3})+(?!\d)(?:\.\d+)?/y;
const ungrouped = /(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3}(?![\w.^]))?/y;
const decimalComma = /\d+,\d+/y;
const repeatingDecimal = /\d*\.\d*\\overline\s*\{\d+\}/y;
const unspacedGroups = /[1-9]\d{0,2}(?:(?: ?\{ ?, ?\} ?|\\!|,\\!\s*|\\,)\d{3})+(?!\d)(?:\.\d+)?/y;

/** Words that stand for units or counted things have at least this many letters; shorter ones are products. */
const shortestWord = 4;

function closingBrace(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i;
  }
  throw new Undecidable('unbalanced braces');
}

/** @throws {Undecidable} for text that is too long, unbalanced or holds something unknown */
export function tokenize(text: string, commas: CommaReading): Token[] {
  if (text.length > longestText) throw new Undecidable('too long');
  const tokens: Token[] = [];
  /** Square and round brackets, and \{, that are open: within them a comma separates. */
  let brackets = 0;
  let at = 0;
  const push = (kind: Token['kind'], value: string): void => {
    if (tokens.length >= mostTokens) throw new Undecidable('too many parts');
    if (kind === 'symbol') {
      if ('([⟨'.includes(value) || value === '\\{') brackets++;
      else if (')]⟩'.includes(value) || value === '\\}') brackets--;
    }
    tokens.push({ kind, text: value });
  };
  const match = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? null;
    if (found !== null) at += found.length;
    return found;
  };
  const word = (letters: string): void => {
    const lower = letters.toLowerCase();
    if (lower === 'and' || lower === 'or') push('text', lower);
    else if (functionNames.has(letters) || lower === 'pi') push('name', lower === 'pi' ? 'pi' : letters);
    else if (lower === 'sqrt') push('symbol', '√');
    else if (lower === 'inf' || lower === 'infinity' || letters === 'oo') push('name', '∞');
    else if (/^(?:and|or)[A-Z]$/.test(letters)) {
      push('text', letters.slice(0, -1));
      push('name', letters.slice(-1));
    } else if (unitWords.has(letters) && lastIsValue(tokens)) push('text', letters);
    else if (letters.length >= shortestWord && letters !== letters.toUpperCase()) push('text', letters);
    else for (const letter of letters) push('name', letter);
  };

  while (at < text.length) {
    const c = text[at]!;
    if (/[\d.]/.test(c)) {
      let literal: string | null = null;
      const repeating = match(repeatingDecimal);
      if (repeating !== null) {
        push('number', repeating.replace(/\\overline\s*\{?/, '(').replace(/\}?$/, ')'));
        continue;
      }
      if (commas === 'decimal') literal = match(decimalComma)?.replace(',', '.') ?? null;
      literal ??= match(commas === 'list' || brackets > 0 ? unspacedGroups : thousands)?.replace(/[^\d.]/g, '') ?? null;
      literal ??= match(ungrouped);
      if (literal !== null) push('number', literal);
      else if (text.startsWith('...', at)) {
        push('symbol', '…');
        at += 3;
      } else at++; // a full stop
    } else if (c === '\\') {
      at++;
      const name = /^[A-Za-z]+/.exec(text.slice(at, at + 40))?.[0];
      if (name === undefined) {
        const next = text[at++] ?? '';
        if (next === '{' || next === '}') push('symbol', `\\${next}`);
        else if (next === '|') push('symbol', '|');
        else if (next === '%') push('symbol', '%');
        else if (next === '\\') push('symbol', '\\\\');
        continue; // \, \; \! \: \$ and a backslash before a space are spacing
      }
      at += name.length;
      const command = Object.hasOwn(variants, name) ? variants[name]! : name;
      if (wordCommands.has(name)) {
        const open = /^\s*\{/.exec(text.slice(at, at + 10));
        if (open === null) continue;
        const start = at + open[0].length;
        const end = closingBrace(text, start - 1);
        const inner = text
          .slice(start, end)
          .replace(/\\[ ,;!]|~|\$/g, ' ')
          .trim();
        at = end + 1;
        if (functionNames.has(inner)) push('name', inner);
        else if (/^[a-zA-Z]$/.test(inner) && (name === 'mathrm' || name === 'rm')) push('name', inner);
        else if (inner !== '') push('text', inner);
      } else if (name === 'mathbb') {
        const set = match(/\s*\{?\s*[A-Z]\s*\}?/y)?.replace(/[^A-Z]/g, '');
        push('name', { R: 'ℝ', C: 'ℂ', Z: 'ℤ', N: 'ℕ', Q: 'ℚ' }[set ?? ''] ?? fail('unknown set'));
      } else if (structural.has(command)) push('command', command);
      else if (dressing.has(name)) {
        if (name === 'overline' && /^\s*\{?\d/.test(text.slice(at, at + 10))) fail('digits under a line');
        if (name === 'left' || name === 'right') match(/\s*\.(?!\d)/y); // an invisible bracket
      } else if (Object.hasOwn(symbols, name)) push('symbol', symbols[name]!);
      else if (Object.hasOwn(names, name)) push('name', names[name]!);
      else if (functionNames.has(name)) push('name', name);
      else if (greek.has(name.toLowerCase())) push('name', name);
      else if (/^q?quad./.test(name))
        at -= name.length - name.indexOf('quad') - 4; // \quad glued to what follows
      else fail(`unknown command ${name}`);
    } else if (/[A-Za-z]/.test(c)) word(match(/[A-Za-z]+/y)!);
    else if (/\s|[$~\u200b]/.test(c)) at++;
    else if (superscripts.includes(c)) {
      push('symbol', '^');
      push('number', String(superscripts.indexOf(c)));
      at++;
    } else if (c === 'π') {
      push('name', 'pi');
      at++;
    } else if (Object.hasOwn(plainNames, c)) {
      push('name', plainNames[c]!);
      at++;
    } else if (/[€£¥₹]/.test(c)) at++;
    else if (text[at + 1] === '=' && (c in withEquals || (c === '!' && /\s/.test(text[at - 1] ?? '')))) {
      push('symbol', withEquals[c] ?? '≠'); // `5!=120` is a factorial, `x != 5` is not
      at += 2;
    } else if (/\p{L}/u.test(c)) {
      const letters = match(/\p{L}+/uy) ?? fail('a broken letter');
      push(letters.length === 1 ? 'name' : 'text', letters);
    } else {
      const symbol = characters[c] ?? c;
      if (!known.includes(symbol)) fail(`unknown character ${c}`);
      push('symbol', symbol);
      at++;
    }
  }
  return tokens;
}

function fail(reason: string): never {
  throw new Undecidable(reason);
}

const lastIsValue = (tokens: readonly Token[]): boolean => {
  const last = tokens.at(-1);
  return last !== undefined && (last.kind === 'number' || (last.kind === 'symbol' && ')}'.includes(last.text)));
};
