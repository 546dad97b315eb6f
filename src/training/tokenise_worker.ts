// The thread of a TokenisePool: opens the model's tokenizer once and tokenises the lines that it is sent.

import { parentPort, workerData } from 'node:worker_threads';
import { resolveModel } from '../weights/model_files.js';
import { LineError, type TextSettings, type TokenisedLines, tokeniseLines } from './tokenise.js';
import type { TokeniseSetup } from './tokenise_pool.js';

/** Of the lines that were sent last. */
export type TokeniseAnswer =
  | TokenisedLines
  /** `line` from 1 for a mistake in it, null for any other error. */
  | { readonly line: number | null; readonly message: string };

const { model, text, format, keepData } = workerData as TokeniseSetup;

async function open(): Promise<TextSettings> {
  const { tokenizer, chatTemplate, weights } = await resolveModel(model, text);
  weights.close();
  return { tokenizer: tokenizer!, template: chatTemplate!, format, keepData };
}

const settings = open();

async function answer(bytes: Uint8Array): Promise<TokeniseAnswer> {
  try {
    return await tokeniseLines(bytes, await settings);
  } catch (error) {
    return { line: error instanceof LineError ? error.line : null, message: (error as Error).message };
  }
}

parentPort!.on('message', async (bytes: Uint8Array) => {
  const result = await answer(bytes);
  parentPort!.postMessage(result, 'rows' in result ? [result.rows.records.buffer] : []);
});
