/** Text as it is generated: decoded token by token, and never half a character. */
import type { Tokenizer } from './tokenizer.js';

/** A character is at most four bytes and a token at least one, so older tokens cannot change what a new one gives. */
const context = 8;

/**
 * Decodes one token at a time. The pieces joined, with that of `flush`, are what decoding all tokens at once gives.
 * Bytes that may be the beginning of a character are kept until it is whole.
 */
export class Detokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #options: { skipSpecialTokens: boolean };
  #window: number[] = [];
  #emitted = 0;

  /** @param options.skipSpecialTokens default true */
  constructor(tokenizer: Tokenizer, options: { skipSpecialTokens?: boolean } = {}) {
    this.#tokenizer = tokenizer;
    this.#options = { skipSpecialTokens: options.skipSpecialTokens ?? true };
  }

  /** @returns the text that became certain with this token; often a word, sometimes nothing */
  push(token: number): string {
    this.#window.push(token);
    const text = this.#decode();
    const piece = text.slice(this.#emitted, certainLength(text));
    this.#emitted += piece.length;
    if (this.#window.length >= 3 * context) {
      this.#window = this.#window.slice(-context);
      this.#emitted = certainLength(this.#decode());
    }
    return piece;
  }

  /** @returns what was kept back: U+FFFD for a character that never became whole, usually nothing */
  flush(): string {
    const piece = this.#decode().slice(this.#emitted);
    this.#emitted += piece.length;
    return piece;
  }

  #decode(): string {
    return this.#tokenizer.decode(this.#window, this.#options);
  }
}

/** An unfinished character at the end decodes to one U+FFFD, which the next token may turn into something else. */
function certainLength(text: string): number {
  return text.endsWith('\uFFFD') ? text.length - 1 : text.length;
}
