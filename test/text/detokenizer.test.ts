import { describe, expect, test } from 'vitest';
import { Detokenizer } from '../../src/text/detokenizer.js';
import type { Tokenizer } from '../../src/text/tokenizer.js';
import { seeded } from '../weights/files.js';
import { byteTokenizer, chatTokenizer } from './models.js';

/** The pieces of a stream; checks on the way that no piece holds half a character. */
function stream(tokenizer: Tokenizer, tokens: readonly number[], skipSpecialTokens = true): string[] {
  const detokenizer = new Detokenizer(tokenizer, { skipSpecialTokens });
  return [...tokens.map((token) => detokenizer.push(token)), detokenizer.flush()];
}

describe('Detokenizer', () => {
  const tokenizer = byteTokenizer(['<end>'], '<end>');
  const bytes = (text: string): number[] => [...Buffer.from(text)];

  test('gives a character with its last byte', () => {
    expect(stream(tokenizer, bytes('aé🙂'))).toEqual(['a', '', 'é', '', '', '', '🙂', '']);
  });

  test('gives a broken character as U+FFFD when it cannot become whole any more', () => {
    expect(stream(tokenizer, [0xf0, 0x9f, 0x41])).toEqual(['', '', '\uFFFDA', '']);
    expect(stream(tokenizer, [0xf0, 0x9f, 0x99])).toEqual(['', '', '', '\uFFFD']);
    expect(stream(tokenizer, [0xc3, 0xc3, 0xa9])).toEqual(['', '\uFFFD', 'é', '']);
  });

  test('passes on a U+FFFD that is in the text', () => {
    expect(stream(tokenizer, bytes('\uFFFDx')).join('')).toBe('\uFFFDx');
    expect(stream(tokenizer, bytes('\uFFFD')).join('')).toBe('\uFFFD');
  });

  test('leaves special tokens out or shows them', () => {
    expect(stream(tokenizer, [72, 256, 105])).toEqual(['H', '', 'i', '']);
    expect(stream(tokenizer, [72, 256, 105], false)).toEqual(['H', '<end>', 'i', '']);
  });

  test('joined, the pieces are the whole text, whatever the tokens', () => {
    const random = seeded(3);
    for (const subject of [tokenizer, chatTokenizer()]) {
      for (let round = 0; round < 200; round++) {
        // Bytes that rarely make characters, and runs of characters, mixed.
        const tokens = Array.from({ length: Math.floor(random() * 120) }, () =>
          random() < 0.5
            ? Math.floor(random() * subject.vocabSize)
            : subject.encode('é🙂漢字 a')[Math.floor(random() * 8)]!,
        );
        expect(stream(subject, tokens).join('')).toBe(subject.decode(tokens));
      }
    }
  });

  test('needs only a few tokens behind it, however long the text is', () => {
    let longest = 0;
    const counting: Tokenizer = {
      ...tokenizer,
      decode: (tokens, options) => {
        longest = Math.max(longest, tokens.length);
        return tokenizer.decode(tokens, options);
      },
    };
    const tokens = [...bytes('🙂é'.repeat(100)), ...Array(500).fill(0x80)];
    expect(stream(counting, tokens).join('')).toBe(tokenizer.decode(tokens));
    expect(longest).toBeLessThan(32);
  });
});
