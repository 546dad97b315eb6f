// Lines of JSON to tokenised rows: what a thread does with its share of a file.

import { isUtf8 } from 'node:buffer';
import { hashToInteger } from '../data/draws.js';
import { encodeConversation } from '../text/chat_targets.js';
import type { ChatTemplate } from '../text/chat_template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type Conversation, conversationReader, type DataFormat } from './data_format.js';
import type { Pauses } from './pauses.js';
import { RowsBuilder, type TokenisedRows } from './tokenised_rows.js';

export interface TextSettings {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  readonly format: DataFormat;
  /** Keep the further keys of the rows. */
  readonly keepData: boolean;
}

export interface TokenisedLines {
  readonly rows: TokenisedRows;
  /** Lines that there were, blank ones among them. */
  readonly lines: number;
}

/** What is wrong with a line. */
export class LineError extends Error {
  /** From 1, of the lines at hand. */
  readonly line: number;

  constructor(line: number, message: string) {
    super(message);
    this.line = line;
  }
}

/**
 * @param bytes whole lines
 * @param pauses for a thread whose event loop has to turn meanwhile
 * @returns rows whose `lines` count from 1; the identity of one without id is NaN
 * @throws {LineError} for the first line that is not a row to train on
 */
export async function tokeniseLines(
  bytes: Uint8Array,
  settings: TextSettings,
  pauses: Pauses | null = null,
): Promise<TokenisedLines> {
  const lines = splitLines(bytes);
  const read = conversationReader(settings.format);
  const builder = new RowsBuilder();
  for (const [index, text] of lines.entries()) {
    if (text.trim() !== '') {
      try {
        builder.add({ ...tokeniseRow(read(parseJson(text)), settings), line: index + 1 });
      } catch (error) {
        throw new LineError(index + 1, (error as Error).message);
      }
    }
    if (pauses?.due()) await pauses.turn();
  }
  return { rows: builder.build(), lines: lines.length };
}

function splitLines(bytes: Uint8Array): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const lines = buffer.toString('utf8').replace(/\n$/, '').split('\n');
  if (isUtf8(buffer)) return lines;
  let start = 0;
  for (let line = 1; ; ++line) {
    const end = buffer.indexOf(10, start);
    const text = buffer.subarray(start, end < 0 ? buffer.length : end);
    if (!isUtf8(text)) throw new LineError(line, 'Expected UTF-8 but received other bytes; convert the file');
    start = end + 1;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`Expected one JSON value per line: ${(error as Error).message}`);
  }
}

function tokeniseRow(row: Conversation, { tokenizer, template, keepData }: TextSettings) {
  const { id, messages, data } = row;
  const { tokens, labels } = encodeConversation(messages, template, tokenizer);
  if (!labels.some((label, position) => position > 0 && label >= 0))
    throw new Error('Expected an assistant message to train on but received nothing to train; remove the row');
  return { tokens, labels, id, data: keepData ? data : {}, identity: id === null ? Number.NaN : hashToInteger(id) };
}
