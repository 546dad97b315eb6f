/** Text to token ids and back, from the tokenizer.json of a model folder or from what a GGUF file says (gguf_tokenizer.ts). */
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { UserError } from '../errors.js';
import { bytesOfSymbols, symbolsOfBytes } from './byte_level.js';
import { checkTokenizerJson } from './tokenizer_check.js';

export interface Tokenizer {
  /** The largest token id plus one, added tokens included. The model's vocabulary may be padded beyond it. */
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  /** Tokens that end a generation; empty when the files name none. */
  readonly eosTokenIds: number[];
  /** @param options.addSpecialTokens put the begin-of-text token where the model has one; default true. Rendered chats hold theirs already. */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** Bytes that are no UTF-8 become U+FFFD; ids that name no token are left out. @param options.skipSpecialTokens default true */
  decode(tokens: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  tokenToId(token: string): number | null;
  idToToken(id: number): string | null;
  /** Whether the token is a control token such as `<|im_end|>`, which decoding leaves out by default. */
  isSpecial(id: number): boolean;
}

/** The parts of tokenizer.json that are read here; everything else is the library's. */
export interface TokenizerJson {
  normalizer?: unknown;
  pre_tokenizer?: unknown;
  post_processor?: unknown;
  decoder?: unknown;
  model: { type?: string; vocab?: unknown; merges?: unknown; [key: string]: unknown };
  added_tokens?: { id: number; content: string; special?: boolean }[];
  [key: string]: unknown;
}

/** The parts of tokenizer_config.json that are read here. A token is its text or `{ content }`. */
export interface TokenizerConfig {
  bos_token?: string | { content: string } | null;
  eos_token?: string | { content: string } | null;
  [key: string]: unknown;
}

export interface TokenizerOptions {
  /** Tokens that end a generation, beside the eos_token of the configuration. */
  eosTokenIds?: readonly number[];
  /** The file or folder that errors name. */
  source?: string;
}

const sampleText = 'A b1\n';
const modelTypes = ['BPE', 'Unigram', 'WordPiece'];

/** @throws UserError when the files cannot be understood */
export function createTokenizer(
  json: TokenizerJson,
  config: TokenizerConfig,
  options: TokenizerOptions = {},
): Tokenizer {
  const source = options.source ?? 'the tokenizer';
  checkTokenizerJson(json, source);
  let library: HubTokenizer;
  try {
    // The library takes an unknown model for one of its oldest and gives wrong ids.
    if (!modelTypes.includes(json.model?.type ?? 'BPE')) throw new Error(`unknown model type '${json.model.type}'`);
    const complete = { normalizer: null, post_processor: null, decoder: null, added_tokens: [], ...json };
    const exact = exactPreTokenizer(json.pre_tokenizer ?? null);
    const words = json.model.type === 'BPE' && !json.model.fuse_unk ? wordsBeforeBytes(exact) : null;
    const settings = { ...config, clean_up_tokenization_spaces: false };
    library = new HubTokenizer({ ...complete, pre_tokenizer: words ?? exact }, settings);
    if (words !== null) rememberWords(library);
    library.encode(sampleText); // Its parts are looked at no sooner than they are used.
    library.decode([0], {});
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UserError(
      `${source}: the tokenizer cannot be read (${reason}); take tokenizer.json from the original model`,
    );
  }
  return new ModelTokenizer(library, json, config, options.eosTokenIds ?? []);
}

class ModelTokenizer implements Tokenizer {
  readonly vocabSize: number;
  readonly bosTokenId: number | null;
  readonly eosTokenIds: number[];
  readonly #library: HubTokenizer;
  readonly #texts: (string | undefined)[];
  readonly #added = new Map<number, string>();
  readonly #special = new Set<number>();
  readonly #byteLevel: boolean;
  readonly #bytes: (Uint8Array | undefined)[] = [];

  constructor(library: HubTokenizer, json: TokenizerJson, config: TokenizerConfig, eosTokenIds: readonly number[]) {
    this.#library = library;
    this.#texts = [];
    for (const [text, id] of library.get_vocab(true)) this.#texts[id] = text;
    this.vocabSize = this.#texts.length;
    for (const token of json.added_tokens ?? []) {
      this.#added.set(token.id, token.content);
      if (token.special) this.#special.add(token.id);
    }
    this.#byteLevel = isByteLevel(json.decoder);
    this.bosTokenId = this.#configured(config.bos_token);
    const eos = this.#configured(config.eos_token);
    this.eosTokenIds = [...new Set(eos === null ? eosTokenIds : [...eosTokenIds, eos])];
  }

  encode(text: string, options: { addSpecialTokens?: boolean } = {}): number[] {
    return this.#library.encode(text, { add_special_tokens: options.addSpecialTokens ?? true }).ids;
  }

  decode(tokens: readonly number[], options: { skipSpecialTokens?: boolean } = {}): string {
    const skip = options.skipSpecialTokens ?? true;
    const shown = tokens.filter((id) => this.#texts[id] !== undefined && !(skip && this.#special.has(id)));
    if (shown.length === 0) return '';
    if (!this.#byteLevel) return this.#library.decode(shown, { clean_up_tokenization_spaces: false });
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(shown.map((id) => this.#tokenBytes(id))));
  }

  tokenToId(token: string): number | null {
    return this.#library.token_to_id(token) ?? null;
  }

  idToToken(id: number): string | null {
    return this.#texts[id] ?? null;
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  #tokenBytes(id: number): Uint8Array {
    const added = this.#added.get(id);
    this.#bytes[id] ??= added === undefined ? bytesOfSymbols(this.#texts[id] ?? '') : new TextEncoder().encode(added);
    return this.#bytes[id];
  }

  #configured(token: TokenizerConfig['bos_token']): number | null {
    const text = typeof token === 'object' ? token?.content : token;
    return text === undefined || text === null ? null : this.tokenToId(text);
  }
}

function isByteLevel(decoder: unknown): boolean {
  return typeof decoder === 'object' && decoder !== null && (decoder as { type?: unknown }).type === 'ByteLevel';
}

/** The words of GPT-2: what the ByteLevel pre-tokenizer splits into. */
export const gpt2Words = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

export const splitBy = (regex: string): object => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});

/**
 * The same pre-tokenizer in parts that the library carries out exactly. Its `Digits` knows ASCII digits only and the
 * pattern of its `ByteLevel` has JavaScript's white space; its `Split` follows the reference's regular expressions.
 */
function exactPreTokenizer(part: unknown): unknown {
  if (typeof part !== 'object' || part === null) return part;
  const { type, ...rest } = part as {
    type?: string;
    pretokenizers?: unknown[];
    individual_digits?: boolean;
    use_regex?: boolean;
  };
  if (type === 'Sequence') return { ...part, pretokenizers: (rest.pretokenizers ?? []).map(exactPreTokenizer) };
  if (type === 'Digits') return splitBy(rest.individual_digits ? String.raw`\p{N}` : String.raw`\p{N}+`);
  const prefixed = (rest as { add_prefix_space?: boolean }).add_prefix_space === true;
  if (type === 'ByteLevel' && rest.use_regex !== false && !prefixed)
    return { type: 'Sequence', pretokenizers: [splitBy(gpt2Words), { ...part, use_regex: false }] };
  return part;
}

/** The pre-tokenizer up to its last step, where that step only writes bytes as symbols; else null. */
function wordsBeforeBytes(part: unknown): object | null {
  const { type, pretokenizers } = (part ?? {}) as { type?: string; pretokenizers?: object[] };
  if (type !== 'Sequence' || pretokenizers === undefined) return null;
  const last = pretokenizers.at(-1) as { type?: string; use_regex?: boolean; add_prefix_space?: boolean } | undefined;
  const before = pretokenizers.slice(0, -1);
  if (last?.type === 'Sequence') {
    const inner = wordsBeforeBytes(last);
    return inner && { ...(part as object), pretokenizers: [...before, inner] };
  }
  const onlySymbols = last?.type === 'ByteLevel' && last.use_regex === false && !last.add_prefix_space;
  return onlySymbols && before.length > 0 ? { ...(part as object), pretokenizers: before } : null;
}

/** Words whose tokens are remembered. */
const rememberedWords = 100_000;

/**
 * Gives the library's model words in place of their bytes' symbols, and remembers what becomes of each: most words of a text
 * were there before, and writing their bytes as symbols takes longer than everything else.
 */
function rememberWords(library: HubTokenizer): void {
  const model = library.model as unknown as ((symbols: string[]) => string[]) & object;
  const remembered = new Map<string, string[]>();
  const encoder = new TextEncoder();
  const encode = (words: readonly string[]): string[] => {
    const tokens: string[] = [];
    for (const word of words) {
      let found = remembered.get(word);
      if (found === undefined) {
        found = model([symbolsOfBytes(encoder.encode(word))]);
        if (remembered.size >= rememberedWords) remembered.clear();
        if (word.length <= 64) remembered.set(word, found);
      }
      for (const token of found) tokens.push(token);
    }
    return tokens;
  };
  // The library also reads fields of its model.
  library.model = Object.setPrototypeOf(encode, model) as HubTokenizer['model'];
}
