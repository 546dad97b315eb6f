// Tokenizers for tests: one whose every byte is a token, and that of the tiny chat model.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { symbolsOfBytes } from '../../src/text/byte_level.js';
import { createTokenizer, type Tokenizer } from '../../src/text/tokenizer.js';
import { modelFolder } from '../support/fixtures.js';

/** Every byte is a token, and so is each of `special`, from id 256 on. */
export function byteTokenizer(special: readonly string[] = [], eos: string | null = null): Tokenizer {
  const vocab: Record<string, number> = {};
  for (let byte = 0; byte < 256; byte++) vocab[symbolsOfBytes(Uint8Array.of(byte))] = byte;
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, use_regex: true };
  return createTokenizer(
    {
      pre_tokenizer: byteLevel,
      decoder: byteLevel,
      model: { type: 'BPE', vocab, merges: [] },
      added_tokens: special.map((content, index) => ({ id: 256 + index, content, special: true })),
    },
    { eos_token: eos },
  );
}

export function chatTokenizer(): Tokenizer {
  const read = (name: string) => JSON.parse(readFileSync(join(modelFolder('chat'), name), 'utf8'));
  return createTokenizer(read('tokenizer.json'), read('tokenizer_config.json'), { eosTokenIds: [2, 0] });
}
