/**
 * A recursive-descent parser: tokens to one expression. What can be read in two ways is not read at all:
 * `1/2x`, `x2`, `2 3`, `\frac{1}{2}3`.
 */
import { type Expression, symbol } from './expression.js';
import { isNatural, isOne, mixed, number } from './numerals.js';
import { Undecidable } from './rational.js';
import { TokenReader } from './token_reader.js';
import type { Token } from './tokens.js';
import { functionNames } from './vocabulary.js';

const closers: Record<string, string> = { '(': ')', '[': ']', '⟨': '⟩', '\\{': '\\}', '{': '}', '⌊': '⌋', '⌈': '⌉' };
/** Letters that name a function when a bracket follows; any other letter is a factor. */
const functionLetters = new Set(['f', 'g', 'h', 'F', 'G', 'H', 'P', 'Q', 'W', 'Gamma', 'phi']);
const inverses: Record<string, string> = { sin: 'arcsin', cos: 'arccos', tan: 'arctan' };

export interface Parsed {
  expression: Expression;
  /** Words behind it: a unit or what was counted; null where there are none. */
  unit: string | null;
  /** Whether there was a ± in it. */
  alternates: boolean;
}

/**
 * @param plusMinus what ± stands for; ∓ is its opposite
 * @throws {Undecidable} when the tokens are not one expression
 */
export function parse(tokens: readonly Token[], plusMinus: 1 | -1 = 1): Parsed {
  return new Parser(tokens, plusMinus).whole();
}

class Parser extends TokenReader {
  readonly #plusMinus: 1 | -1;
  #alternates = false;

  constructor(tokens: readonly Token[], plusMinus: 1 | -1) {
    super(tokens);
    this.#plusMinus = plusMinus;
  }

  whole(): Parsed {
    const first = this.peek();
    if (first?.kind === 'text') {
      this.skip();
      if (this.peek() !== undefined) throw new Undecidable('words before mathematics');
      return { expression: symbol(JSON.stringify(first.text)), unit: null, alternates: false };
    }
    let expression = this.#setLevel();
    if (this.is(':')) {
      const items = [expression];
      while (this.take(':')) items.push(this.#sum());
      expression = { kind: 'sequence', open: ':', close: ':', items };
    }
    const words: string[] = [];
    while (this.peek()?.kind === 'text') {
      words.push(this.next().text);
      if (this.take('^')) words.push(`^${this.#group().kind === 'number' ? this.lastNumber() : ''}`);
    }
    if (this.peek() !== undefined) throw new Undecidable(`unexpected ${this.peek()!.text}`);
    return { expression, unit: words.length === 0 ? null : words.join(' '), alternates: this.#alternates };
  }

  #setLevel(): Expression {
    let left = this.#sum();
    for (;;) {
      const token = this.peek();
      if (token?.kind !== 'symbol' || !'∪∩∖'.includes(token.text)) return left;
      this.skip();
      left = { kind: 'setOperation', operator: token.text as '∪' | '∩' | '∖', left, right: this.#sum() };
    }
  }

  #signAhead(): 1 | -1 | null {
    const token = this.peek();
    if (token?.kind !== 'symbol') return null;
    if (token.text === '+') return 1;
    if (token.text === '-') return -1;
    if (token.text !== '±' && token.text !== '∓') return null;
    this.#alternates = true;
    return token.text === '±' ? this.#plusMinus : this.#plusMinus === 1 ? -1 : 1;
  }

  #signs(): 1 | -1 {
    let sign: 1 | -1 = 1;
    for (let next = this.#signAhead(); next !== null; next = this.#signAhead()) {
      this.skip();
      if (next === -1) sign = sign === 1 ? -1 : 1;
    }
    return sign;
  }

  #sum(): Expression {
    const terms: Expression[] = [];
    do {
      const sign = this.#signs();
      const term = this.nested(() => this.#product());
      terms.push(sign === 1 ? term : { kind: 'negative', of: term });
    } while (this.#signAhead() !== null);
    return terms.length === 1 ? terms[0]! : { kind: 'sum', terms };
  }

  #startsFactor(): boolean {
    const token = this.peek();
    if (token === undefined || token.kind === 'text') return false;
    if (token.kind === 'command') return token.text !== 'end' && !token.text.endsWith('mod');
    if (token.kind !== 'symbol') return true;
    if (token.text === '|') return this.bars === 0;
    return token.text === '√' || Object.hasOwn(closers, token.text);
  }

  #product(): Expression {
    let result = this.#factor();
    let divided = false;
    for (;;) {
      if (this.take('*')) {
        const sign = this.#signs();
        const factor = this.#factor();
        result = times(result, sign === 1 ? factor : { kind: 'negative', of: factor });
        divided = false;
      } else if (this.take('/')) {
        const sign = this.#signs();
        const bottom = this.#factor();
        result = { kind: 'quotient', top: result, bottom: sign === 1 ? bottom : { kind: 'negative', of: bottom } };
        divided = true;
      } else if (this.#startsFactor()) {
        const [before, after] = [this.last(), this.peek()!];
        if (divided) throw new Undecidable('a factor behind a slash');
        if (after.kind === 'number') {
          const mixed = this.#mixedNumber(result);
          if (mixed === null) throw new Undecidable('a number behind a factor');
          result = mixed;
        } else if (before.kind === 'number' && after.kind === 'command' && after.text === 'frac') {
          result = this.#mixedFraction(result);
        } else result = times(result, this.#factor());
      } else return result;
    }
  }

  /** `2 1/3` */
  #mixedNumber(whole: Expression): Expression | null {
    if (!isNatural(whole) || !this.is('/', 1) || this.last().kind !== 'number') return null;
    const top = number(this.next().text);
    this.expect('/');
    const bottom = this.#primary();
    return mixed(whole, top, bottom);
  }

  /** `2\frac{1}{3}` is a mixed number; `2\frac{x}{3}` is a product. */
  #mixedFraction(whole: Expression): Expression {
    const fraction = this.#factor();
    if (!isNatural(whole) || fraction.kind !== 'quotient') return times(whole, fraction);
    if (!isNatural(fraction.top) || !isNatural(fraction.bottom)) return times(whole, fraction);
    const result = mixed(whole, fraction.top, fraction.bottom);
    if (result === null) throw new Undecidable('a number before an improper fraction');
    return result;
  }

  #factor(): Expression {
    let result = this.nested(() => this.#primary());
    for (;;) {
      if (this.take('!')) result = { kind: 'call', name: 'factorial', args: [result] };
      else if (this.take('%')) result = { kind: 'percent', of: result };
      else if (this.take('°')) result = times(result, symbol('°'));
      else if (this.is('^')) {
        this.skip();
        if (this.take('∘') || this.take('°') || this.#takeBracedDegree()) result = times(result, symbol('°'));
        else result = { kind: 'power', base: result, exponent: this.#exponent() };
      } else return result;
    }
  }

  #takeBracedDegree(): boolean {
    if (!this.is('{') || !(this.is('∘', 1) || this.is('°', 1)) || !this.is('}', 2)) return false;
    this.skip(3);
    return true;
  }

  /** What may follow a `^`: a group, or one token with its sign. */
  #exponent(): Expression {
    const sign = this.#signs();
    const inner = this.nested(() => this.#primary());
    const exponent = this.take('^') ? { kind: 'power' as const, base: inner, exponent: this.#exponent() } : inner;
    return sign === 1 ? exponent : { kind: 'negative', of: exponent };
  }

  /** `{…}` or one token. */
  #group(): Expression {
    return this.nested(() => this.#primary());
  }

  #list(close: readonly string[]): { items: Expression[]; close: string } {
    const items: Expression[] = [];
    for (;;) {
      for (const candidate of close) if (items.length === 0 && this.take(candidate)) return { items, close: candidate };
      items.push(this.#setLevel());
      while (this.peek()?.kind === 'text' && !this.is(',')) throw new Undecidable('words in brackets');
      if (this.take(',') || this.take(';')) continue;
      for (const candidate of close) if (this.take(candidate)) return { items, close: candidate };
      throw new Undecidable('an open bracket');
    }
  }

  #primary(): Expression {
    const token = this.next();
    if (token.kind === 'number') return this.#numeral(token.text);
    if (token.kind === 'name') return this.#name(token.text);
    if (token.kind === 'command') return this.#command(token.text);
    if (token.kind === 'text') throw new Undecidable('words amid mathematics');
    switch (token.text) {
      case '(':
      case '[': {
        const { items, close } = this.bracketed(() => this.#list([')', ']']));
        if (items.length === 1 && token.text === '(' && close === ')') return items[0]!;
        if (items.length === 1 && items[0]!.kind === 'matrix' && close === ']') return items[0]!;
        if (items.length < 2) throw new Undecidable('brackets around one part');
        return { kind: 'sequence', open: token.text, close, items };
      }
      case '⟨':
        return { kind: 'sequence', open: '(', close: ')', items: this.bracketed(() => this.#list(['⟩'])).items };
      case '\\{':
        return { kind: 'set', items: this.bracketed(() => this.#list(['\\}'])).items };
      case '{': {
        const { items } = this.bracketed(() => this.#list(['}']));
        if (items.length !== 1) throw new Undecidable('a list in braces');
        return items[0]!;
      }
      case '⌊':
      case '⌈': {
        const of = this.bracketed(() => this.#sum());
        this.expect(closers[token.text]!);
        return { kind: 'call', name: token.text === '⌊' ? 'floor' : 'ceiling', args: [of] };
      }
      case '|': {
        this.bars++;
        const of = this.nested(() => this.#sum());
        this.expect('|');
        this.bars--;
        return { kind: 'call', name: 'abs', args: [of] };
      }
      case '√':
        return { kind: 'root', degree: 2, of: this.#group() };
      default:
        throw new Undecidable(`unexpected ${token.text}`);
    }
  }

  #numeral(text: string): Expression {
    if (!this.take('_')) return number(text);
    // Digits in a base: the same only when written the same.
    return { kind: 'call', name: 'base', args: [symbol(text), this.#group()] };
  }

  #subscript(): string {
    if (!this.take('_')) return '';
    if (!this.take('{')) return `_${this.next().text}`;
    let text = '';
    while (!this.take('}')) {
      const token = this.next();
      if (token.text === '{') throw new Undecidable('braces in a subscript');
      text += token.text;
    }
    return `_${text}`;
  }

  #name(name: string): Expression {
    if (functionNames.has(name)) return this.#call(name);
    if (name === '∠' || name === '△') {
      let figure = name;
      while (this.peek()?.kind === 'name') figure += this.next().text;
      return symbol(figure);
    }
    let full = name + this.#subscript();
    while (this.take("'")) full += "'";
    if (functionLetters.has(name) && this.is('(')) {
      this.skip();
      return { kind: 'call', name: full, args: this.bracketed(() => this.#list([')'])).items };
    }
    return symbol(full);
  }

  #call(name: string): Expression {
    const base = name === 'log' && this.take('_') ? this.#group() : null;
    const raised = this.take('^') ? this.#exponent() : null;
    const args = this.take('(') ? this.bracketed(() => this.#list([')'])).items : [this.#argument()];
    if (base !== null) args.push(base);
    const inverse = raised?.kind === 'negative' && isOne(raised.of) ? inverses[name] : undefined;
    if (inverse !== undefined) return { kind: 'call', name: inverse, args };
    const call: Expression = { kind: 'call', name: name === 'lg' ? 'log10' : name, args };
    return raised === null ? call : { kind: 'power', base: call, exponent: raised };
  }

  /** `2x` in `sin 2x`: factors side by side, up to the next function. */
  #argument(): Expression {
    let result = this.#factor();
    while (this.#startsFactor() && this.peek()!.kind !== 'number' && !functionNames.has(this.peek()!.text)) {
      if (this.is('(') || this.is('|')) throw new Undecidable('where does the argument end?');
      result = times(result, this.#factor());
    }
    return result;
  }

  /** An argument of \frac or \sqrt: a group, or one digit or letter. */
  #argumentOf(command: string): Expression {
    const token = this.peek();
    if (token?.kind === 'number' && token.text.length > 1) {
      if (command !== 'frac' || !/^\d\d$/.test(token.text)) throw new Undecidable('digits without braces');
      this.split();
    }
    return this.#group();
  }

  #command(name: string): Expression {
    switch (name) {
      case 'frac': {
        const top = this.#argumentOf(name);
        return { kind: 'quotient', top, bottom: this.#argumentOf(name) };
      }
      case 'binom': {
        const n = this.#argumentOf(name);
        return { kind: 'call', name: 'binom', args: [n, this.#argumentOf(name)] };
      }
      case 'sqrt': {
        let degree = 2;
        if (this.take('[')) {
          degree = Number(this.next().text);
          this.expect(']');
          if (!Number.isInteger(degree) || degree < 2 || degree > 100) throw new Undecidable('an unusual root');
        }
        return { kind: 'root', degree, of: this.#argumentOf(name) };
      }
      case 'begin':
        return this.#matrix();
      default:
        throw new Undecidable(`unsupported \\${name}`);
    }
  }

  #environment(): string {
    this.expect('{');
    let name = '';
    while (!this.take('}')) name += this.next().text;
    return name;
  }

  #matrix(): Expression {
    const style = this.#environment();
    if (!/^(?:[pbvBV]?(?:small)?matrix|array)$/.test(style)) throw new Undecidable(`unsupported ${style}`);
    if (style === 'array') this.#environment();
    const rows: Expression[][] = [[]];
    for (;;) {
      if (this.peek()?.kind === 'command' && this.peek()!.text === 'end') break;
      if (this.take('\\\\')) rows.push([]);
      else {
        rows.at(-1)!.push(this.bracketed(() => this.#sum()));
        if (!this.take('&') && !this.is('\\\\') && this.peek()?.text !== 'end') throw new Undecidable('a ragged row');
      }
    }
    this.skip();
    if (this.#environment() !== style) throw new Undecidable('an environment without end');
    if (rows.at(-1)!.length === 0) rows.pop();
    if (rows.length === 0 || rows.some((row) => row.length !== rows[0]!.length))
      throw new Undecidable('a ragged matrix');
    return { kind: 'matrix', style: style.replace('small', '').replace('array', 'matrix'), rows };
  }
}

const times = (a: Expression, b: Expression): Expression => ({
  kind: 'product',
  factors: a.kind === 'product' ? [...a.factors, b] : [a, b],
});
