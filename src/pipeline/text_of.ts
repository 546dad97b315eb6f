import type { TextTokenizer } from './services.js';

/** A text of about so many tokens, made of another that is repeated. */
export function textOf(tokenizer: TextTokenizer, source: string, tokens: number): string {
  const known = tokenizer.encode(`${source} `);
  if (known.length === 0 || tokens < 1) return '';
  return tokenizer.decode(Array.from({ length: Math.round(tokens) }, (_, index) => known[index % known.length]!));
}
