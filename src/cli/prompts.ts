/** Rows of prompts: `{"id", "prompt"}`, `{"id", "messages"}` or `{"id", "tokens"}`, one a line. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import { readJsonl } from '../data/jsonl.js';
import type { Message } from '../text/chat_template.js';

export interface PromptRow {
  /** As written; the engine sees it as text. */
  id: string | number;
  prompt: string | number[] | Message[];
}

const message = z.looseObject({ role: z.string(), content: z.string(), reasoning_content: z.string().optional() });
const schema = z.looseObject({
  id: z.union([z.string().min(1), z.number()]),
  prompt: z.string().optional(),
  messages: z.array(message).min(1).optional(),
  tokens: z.array(z.number().int().min(0)).min(1).optional(),
});
const kinds = ['prompt', 'messages', 'tokens'] as const;

function parseRow(row: unknown): PromptRow {
  const values = schema.parse(row);
  const given = kinds.filter((kind) => values[kind] !== undefined);
  if (given.length !== 1) {
    const received = given.length === 0 ? Object.keys(values).join(', ') : given.join(' and ');
    throw new Error(`Expected one of 'prompt', 'messages' and 'tokens' beside 'id' but received ${received}`);
  }
  return { id: values.id, prompt: values[given[0]!] as PromptRow['prompt'] };
}

/** The rows of a file in order, one in memory at a time. @throws naming file and line for a malformed row. */
export async function* readPrompts(path: string): AsyncGenerator<PromptRow> {
  for await (const { value } of readJsonl(path, parseRow)) yield value;
}

/** Reads a file through, so that a mistake in its last line is known before work begins. @returns the number of rows. */
export async function checkPrompts(path: string): Promise<number> {
  const lineOf = new Map<string, number>();
  for await (const { line, value } of readJsonl(path, parseRow)) {
    const earlier = lineOf.get(String(value.id));
    if (earlier !== undefined)
      throw new Error(`${path}:${line}: Expected 'id' to be unique but received '${value.id}' again (line ${earlier})`);
    lineOf.set(String(value.id), line);
  }
  if (lineOf.size === 0) throw new Error(`${path}: Expected at least one row but the file is empty`);
  return lineOf.size;
}

/** SHA-256 of a file's bytes. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
