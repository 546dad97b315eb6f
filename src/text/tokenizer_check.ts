/** Whether the parts of a tokenizer.json that decide sizes are what they must be, before a library builds tables from them. */

import { UserError } from '../errors.js';

/** Ids are below; the largest vocabularies have some 260,000. */
const mostTokens = 1 << 22;

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < mostTokens;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @param source the file that errors name. @throws UserError naming what is wrong */
export function checkTokenizerJson(json: unknown, source: string): void {
  const refusal = (what: string) =>
    new UserError(`${source}: Expected ${what}; take tokenizer.json from the original model`);
  const fail = (what: string): never => {
    throw refusal(what);
  };
  if (!isObject(json) || !isObject(json.model)) throw refusal("'model' to be an object");
  const { vocab, merges } = json.model;
  if (Array.isArray(vocab)) {
    if (vocab.length > mostTokens) fail(`'vocab' to have at most ${mostTokens} tokens`);
    if (!vocab.every((entry) => Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number'))
      fail("'vocab' to hold tokens with their scores");
  } else if (!isObject(vocab) || !Object.values(vocab).every(isId)) fail("'vocab' to map tokens to ids");
  const isPair = (merge: unknown) =>
    Array.isArray(merge) && merge.length === 2 && merge.every((part) => typeof part === 'string');
  if (merges !== undefined && merges !== null) {
    if (!Array.isArray(merges) || !merges.every((merge) => typeof merge === 'string' || isPair(merge)))
      fail("'merges' to be pairs of texts");
  }
  const added = json.added_tokens ?? [];
  if (
    !Array.isArray(added) ||
    !added.every((token) => isObject(token) && isId(token.id) && typeof token.content === 'string')
  )
    fail("'added_tokens' to have ids and contents");
}
