/** What is changed about a model's tokenizer and chat template: another template, more tokens. */
import { readFile } from 'node:fs/promises';
import { UserError } from '../errors.js';
import type { TokenizerConfig, TokenizerJson } from './tokenizer.js';

export interface AddedToken {
  readonly content: string;
  /** Left out when text is decoded for reading, as `<|im_end|>` is. */
  readonly special: boolean;
}

export interface TextOptions {
  /** In place of the model's own: Jinja, or the path of a file of it. */
  readonly chatTemplate?: string | undefined;
  /** Texts that become one token each, with the ids behind the present ones; those that the tokenizer has already keep theirs. */
  readonly addedTokens?: readonly AddedToken[] | undefined;
}

/**
 * The Jinja of a template given as such or as a file.
 * @throws {UserError} for a file that cannot be read
 */
export async function readTemplate(chatTemplate: string): Promise<{ source: string; name: string }> {
  if (/\{[{%]/.test(chatTemplate)) return { source: chatTemplate, name: 'chatTemplate' };
  try {
    return { source: await readFile(chatTemplate, 'utf8'), name: chatTemplate };
  } catch {
    throw new UserError(
      `Expected 'chatTemplate' to be Jinja or a readable file of it but received '${chatTemplate}'; its path is relative to the working directory`,
    );
  }
}

/** tokenizer.json and tokenizer_config.json with more tokens. */
export function addTokens(
  json: TokenizerJson,
  config: TokenizerConfig,
  tokens: readonly AddedToken[],
): { json: TokenizerJson; config: TokenizerConfig } {
  const added = [...(json.added_tokens ?? [])];
  const vocabulary = vocabularyOf(json);
  let next = 1 + Math.max(-1, ...added.map(({ id }) => id));
  for (const id of vocabulary.values()) next = Math.max(next, id + 1);
  const decoder = { ...(config.added_tokens_decoder as Record<string, object> | undefined) };
  for (const { content, special } of tokens) {
    if (added.some((token) => token.content === content)) continue;
    const id = vocabulary.get(content) ?? next++;
    // As tokenizers does: a special token is matched before the text is normalised, another one after.
    const entry = { content, single_word: false, lstrip: false, rstrip: false, normalized: !special, special };
    added.push({ id, ...entry });
    decoder[id] = entry;
  }
  const hasDecoder = config.added_tokens_decoder !== undefined;
  return {
    json: { ...json, added_tokens: added },
    config: hasDecoder ? { ...config, added_tokens_decoder: decoder } : config,
  };
}

/** Ids by token: an object in a BPE vocabulary, a list of [token, score] in a Unigram one. */
function vocabularyOf({ model: { vocab } }: TokenizerJson): Map<string, number> {
  if (Array.isArray(vocab)) return new Map(vocab.map(([token], id) => [token as string, id]));
  return new Map(Object.entries((vocab ?? {}) as Record<string, number>));
}
