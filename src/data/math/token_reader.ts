/** Tokens read one by one, with a bound on how deep a reading may nest. */
import { Undecidable } from './rational.js';
import type { Token } from './tokens.js';

const deepest = 60;

export class TokenReader {
  readonly #tokens: Token[];
  #at = 0;
  #depth = 0;
  /** How many `|` are open in the brackets we are in. */
  protected bars = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = [...tokens];
  }

  protected peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#at + ahead];
  }

  /** @throws {Undecidable} at the end */
  protected next(): Token {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new Undecidable('unexpected end');
    return token;
  }

  protected skip(count = 1): void {
    this.#at += count;
  }

  /** The token that was read last. */
  protected last(): Token {
    return this.#tokens[this.#at - 1]!;
  }

  protected lastNumber(): string {
    return this.#tokens.slice(0, this.#at).findLast((token) => token.kind === 'number')!.text;
  }

  /** Makes two tokens of the next one, which has two characters. */
  protected split(): void {
    const token = this.peek()!;
    this.#tokens.splice(this.#at, 1, ...[...token.text].map((text) => ({ ...token, text })));
  }

  protected is(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return token?.kind === 'symbol' && token.text === text;
  }

  protected take(text: string): boolean {
    if (!this.is(text)) return false;
    this.#at++;
    return true;
  }

  protected expect(text: string): void {
    if (!this.take(text)) throw new Undecidable(`expected ${text}`);
  }

  /** @throws {Undecidable} for what is nested too deep */
  protected nested<T>(read: () => T): T {
    if (++this.#depth > deepest) throw new Undecidable('too deep');
    const result = read();
    this.#depth--;
    return result;
  }

  /** Within brackets of its own, so that a `|` outside does not close one inside. */
  protected bracketed<T>(read: () => T): T {
    const bars = this.bars;
    this.bars = 0;
    const result = this.nested(read);
    this.bars = bars;
    return result;
  }
}
