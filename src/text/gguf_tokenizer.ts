/** The tokenizer that a GGUF file describes in its metadata, as tokenizer.json and tokenizer_config.json would. */
import { didYouMean, UserError } from '../errors.js';
import { gpt2Words, splitBy, type TokenizerConfig, type TokenizerJson } from './tokenizer.js';

/** What a name in `tokenizer.ggml.pre` stands for: what tokenizer.json says and a GGUF file does not. */
interface PreTokenizer {
  /** Split one after the other, before the bytes. */
  words: string[];
  normalizer?: object;
  /** A word that is in the vocabulary is one token, whatever the merges say. */
  ignoreMerges?: boolean;
  /** Whether text begins with the begin-of-text token when `tokenizer.ggml.add_bos_token` is absent. */
  addBos?: boolean;
}

const contractions = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`;
const rest = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const upper = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const lower = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;

const llama3: PreTokenizer = {
  words: [String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${rest}`],
  ignoreMerges: true,
  addBos: true,
};
const qwen2: PreTokenizer = {
  words: [String.raw`${contractions}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${rest}`],
  normalizer: { type: 'NFC' },
};

const preTokenizers: Record<string, PreTokenizer> = {
  smollm: { words: [String.raw`\p{N}`, gpt2Words] },
  'gpt-2': { words: [gpt2Words] },
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  qwen2,
  'deepseek-r1-qwen': qwen2,
  'gpt-4o': {
    words: [
      [
        String.raw`[^\r\n\p{L}\p{N}]?${upper}*${lower}+${contractions}?`,
        String.raw`[^\r\n\p{L}\p{N}]?${upper}+${lower}*${contractions}?`,
        String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${rest}`,
      ].join('|'),
    ],
    ignoreMerges: true,
  },
};

/** `tokenizer.ggml.token_type`: 1 is an ordinary token, 2 unknown, 5 unused, 6 a byte. */
const control = 3;
const userDefined = 4;

/**
 * @param metadata the key-value pairs of the GGUF file
 * @param source the file that errors name
 * @returns null when the file holds no tokenizer
 * @throws UserError for a tokenizer of a kind that is not known
 */
export function ggufTokenizerFiles(
  metadata: Readonly<Record<string, unknown>>,
  source: string,
): { json: TokenizerJson; config: TokenizerConfig; eosTokenIds: number[] } | null {
  const kind = metadata['tokenizer.ggml.model'];
  if (kind === undefined || kind === 'none') return null;
  if (kind !== 'gpt2')
    throw new UserError(
      `${source}: Expected 'tokenizer.ggml.model' to be 'gpt2' but received '${kind}'; use the model's original folder`,
    );
  const pre = String(metadata['tokenizer.ggml.pre']);
  const known = Object.hasOwn(preTokenizers, pre) ? preTokenizers[pre] : undefined;
  if (known === undefined) {
    const names = Object.keys(preTokenizers);
    throw new UserError(
      `${source}: Expected 'tokenizer.ggml.pre' to be one of ${names.join(', ')} but received '${pre}'${didYouMean(pre, names)}; use the model's original folder`,
    );
  }
  const tokens = arrayOf(metadata, 'tokenizer.ggml.tokens', 'string', source) as string[];
  const merges = arrayOf(metadata, 'tokenizer.ggml.merges', 'string', source) as string[];
  const types =
    metadata['tokenizer.ggml.token_type'] === undefined
      ? []
      : (arrayOf(metadata, 'tokenizer.ggml.token_type', 'number', source) as number[]);

  const added = tokens.flatMap((content, id) =>
    types[id] === control || types[id] === userDefined
      ? [
          {
            id,
            content,
            special: types[id] === control,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
          },
        ]
      : [],
  );
  const bos = tokenAt(metadata, 'tokenizer.ggml.bos_token_id', tokens, source);
  const eos = tokenAt(metadata, 'tokenizer.ggml.eos_token_id', tokens, source);
  const addBos = metadata['tokenizer.ggml.add_bos_token'] ?? known.addBos ?? false;
  const addEos = metadata['tokenizer.ggml.add_eos_token'] ?? false;
  const before = addBos && bos !== null ? [bos] : [];
  const after = addEos && eos !== null ? [eos] : [];
  const ends = ['eos', 'eot', 'eom'].map(
    (name) => tokenAt(metadata, `tokenizer.ggml.${name}_token_id`, tokens, source)?.id,
  );
  return {
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      normalizer: known.normalizer ?? null,
      pre_tokenizer: { type: 'Sequence', pretokenizers: [...known.words.map(splitBy), byteLevel] },
      post_processor: before.length + after.length > 0 ? withSpecialTokens(before, after) : byteLevel,
      decoder: byteLevel,
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: known.ignoreMerges ?? false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges,
      },
      added_tokens: added,
    },
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      clean_up_tokenization_spaces: false,
      bos_token: bos?.content ?? null,
      eos_token: eos?.content ?? null,
      pad_token: tokenAt(metadata, 'tokenizer.ggml.padding_token_id', tokens, source)?.content ?? null,
    },
    eosTokenIds: [...new Set(ends.filter((id) => id !== undefined))],
  };
}

interface TokenEntry {
  id: number;
  content: string;
}

const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };

function withSpecialTokens(before: readonly TokenEntry[], after: readonly TokenEntry[]): object {
  const part = (token: TokenEntry): object => ({ SpecialToken: { id: token.content, type_id: 0 } });
  const one = (sequence: string): object[] => [
    ...before.map(part),
    { Sequence: { id: sequence, type_id: 0 } },
    ...after.map(part),
  ];
  return {
    type: 'TemplateProcessing',
    single: one('A'),
    pair: [...one('A'), ...one('B')],
    special_tokens: Object.fromEntries(
      [...before, ...after].map(({ id, content }) => [content, { id: content, ids: [id], tokens: [content] }]),
    ),
  };
}

function arrayOf(metadata: Readonly<Record<string, unknown>>, key: string, type: string, source: string): unknown[] {
  const value = metadata[key];
  if (!Array.isArray(value) || value.some((item) => typeof item !== type))
    throw new UserError(`${source}: Expected '${key}' to be an array of ${type}s; convert the model again`);
  return value;
}

function tokenAt(
  metadata: Readonly<Record<string, unknown>>,
  key: string,
  tokens: readonly string[],
  source: string,
): TokenEntry | null {
  const id = metadata[key];
  if (id === undefined) return null;
  const content = typeof id === 'number' ? tokens[id] : undefined;
  if (content === undefined)
    throw new UserError(
      `${source}: Expected '${key}' to be below ${tokens.length} (the number of tokens) but received ${id}; convert the model again`,
    );
  return { id: id as number, content };
}
