/** Rows of prompts: `{"id", "prompt"}`, `{"id", "messages"}` or `{"id", "tokens"}`, one a line. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { z } from 'zod';
import { readJsonl } from '../data/jsonl.js';
import { SAMPLING_DEFAULTS, type SamplingParams, samplingParams } from '../engine/sampling_params.js';
import { UserError } from '../errors.js';
import type { Message } from '../text/chat_template.js';
import { IdIndex } from './id_index.js';

export interface PromptRow {
  /** As written; the engine sees it as text. */
  id: string | number;
  prompt: string | number[] | Message[];
  /** The row's own parameters, before which those of the command step back. */
  sampling: Partial<SamplingParams>;
  /** Text behind the prompt, not part of the completion's. */
  continuation?: string;
}

/** What a file of prompts holds; ids are kept as hashes. */
export interface PromptFile {
  readonly rows: number;
  /** Completions that are wanted: `n` of every row. */
  readonly samples: number;
  /** `n` of a row; 0 for an id that is not in the file. */
  samplesOf(id: string): number;
}

const message = z.looseObject({ role: z.string(), content: z.string(), reasoning_content: z.string().optional() });
const schema = z.looseObject({
  id: z.union([z.string().min(1), z.number()]),
  prompt: z.string().optional(),
  messages: z.array(message).min(1).optional(),
  tokens: z.array(z.number().int().min(0)).min(1).optional(),
  continuation: z.string().optional(),
  sampling: z.looseObject({}).optional(),
});
const kinds = ['prompt', 'messages', 'tokens'] as const;

function parseRow(row: unknown): PromptRow {
  const values = schema.parse(row);
  const given = kinds.filter((kind) => values[kind] !== undefined);
  if (given.length !== 1) {
    const received = given.length === 0 ? Object.keys(values).join(', ') : given.join(' and ');
    throw new Error(`Expected one of 'prompt', 'messages' and 'tokens' beside 'id' but received ${received}`);
  }
  const { id, continuation, sampling = {} } = values;
  const prompt = values[given[0]!] as PromptRow['prompt'];
  return {
    id,
    prompt,
    sampling: sampling as Partial<SamplingParams>,
    ...(continuation === undefined ? {} : { continuation }),
  };
}

/** The rows of a file in order, one in memory at a time. @throws naming file and line for a malformed row. */
export async function* readPrompts(path: string): AsyncGenerator<PromptRow> {
  for await (const { value } of readJsonl(path, parseRow)) yield value;
}

/**
 * Reads a file through, so that a mistake in its last line is known before work begins.
 *
 * @param sampling parameters of every row that has none of its own; null: the rows' are of no interest.
 * @throws naming file and line for a malformed row, an id that is there twice, and sampling parameters that cannot be.
 */
export async function checkPrompts(path: string, sampling: Partial<SamplingParams> | null = null): Promise<PromptFile> {
  const ids = new IdIndex();
  const lines: number[] = [];
  const samples: number[] = [];
  const parse = (row: unknown): PromptRow & { n: number } => {
    const parsed = parseRow(row);
    return { ...parsed, n: sampling === null ? 1 : samplesIn(row as object, { ...sampling, ...parsed.sampling }) };
  };
  for await (const { line, value } of readJsonl(path, parse)) {
    const earlier = lines[ids.find(String(value.id))];
    if (earlier !== undefined)
      throw new UserError(
        `${path}:${line}: Expected 'id' to be unique but received '${value.id}' again (line ${earlier})`,
      );
    ids.add(String(value.id));
    lines.push(line);
    samples.push(value.n);
  }
  if (ids.size === 0) throw new UserError(`${path}: Expected at least one row but the file is empty`);
  return {
    rows: ids.size,
    samples: samples.reduce((sum, n) => sum + n, 0),
    samplesOf: (id) => samples[ids.find(id)] ?? 0,
  };
}

/** `n`, when all parameters are as they should be and where they should be. */
function samplesIn(row: object, sampling: Partial<SamplingParams>): number {
  for (const [name, value] of Object.entries(row)) {
    const isResult = /logprobs/i.test(name) && Array.isArray(value); // of an earlier run
    if (name in SAMPLING_DEFAULTS && !isResult)
      throw new Error(
        `Expected '${name}' within 'sampling' but received it beside; write {"sampling": {"${name}": …}}`,
      );
  }
  return samplingParams(sampling).n;
}

/** SHA-256 of a file's bytes. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
