// JSON Lines of conversations into documents of tokens and targets.

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { readJsonl } from '../data/jsonl.js';
import { UserError } from '../errors.js';
import { encodeConversation } from '../text/chat_targets.js';
import type { ChatTemplate, Message } from '../text/chat_template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { CheckRow } from './objectives/objective.js';
import type { TrainingDocument } from './packing.js';
import { parseStrict } from './strict_schema.js';

/** A row of training data; further keys are for the objective. */
export const conversationRow = z.looseObject({
  id: z.union([z.string(), z.number()]).optional(),
  messages: z
    .array(z.looseObject({ role: z.string(), content: z.string(), reasoning_content: z.string().optional() }))
    .min(1),
});

export interface DatasetReport {
  /** Rows read. */
  readonly rows: number;
  /** Rows longer than allowed; each of them is either in `truncated` or in `dropped`. */
  readonly overlong: number;
  readonly truncated: number;
  readonly dropped: number;
  /** Tokens, and trained tokens, of the documents that are left. */
  readonly tokens: number;
  readonly trainedTokens: number;
  /** Length in tokens of the longest row, before truncation. */
  readonly longest: number;
}

export interface Dataset {
  readonly documents: readonly TrainingDocument[];
  readonly report: DatasetReport;
  /** SHA-256 of all tokens, targets and kept data in order. */
  readonly fingerprint: string;
}

export interface DatasetOptions {
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  /** The most tokens a document may have. */
  readonly maxTokens: number;
  readonly overlong: 'drop' | 'truncate' | 'error';
  /** Keep the further keys of the rows, for an objective that may ask for them. Default: false. */
  readonly keepData?: boolean;
  /** What the objective demands of a row. */
  readonly checkRow?: CheckRow | null;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads and tokenises every row of `files`.
 * @throws {UserError} one line with file and line for a malformed row, a row with nothing to train, an over-long row (with
 *   `overlong: 'error'`), and for data in which nothing is left to train
 */
export async function loadDataset(files: readonly string[], options: DatasetOptions): Promise<Dataset> {
  const documents: TrainingDocument[] = [];
  const hash = createHash('sha256');
  const report: Mutable<DatasetReport> = {
    rows: 0,
    overlong: 0,
    truncated: 0,
    dropped: 0,
    tokens: 0,
    trainedTokens: 0,
    longest: 0,
  };
  let lastPause = performance.now();
  for (const file of files) {
    const parse = (row: unknown) => fitRow(row, options, report);
    for await (const { line, value } of readJsonl(file, parse)) {
      options.signal?.throwIfAborted();
      if (value !== null) {
        const document = { ...value, id: value.id || `${file}:${line}` };
        documents.push(document);
        report.tokens += document.tokens.length;
        report.trainedTokens += document.trained;
        if (options.keepData) hash.update(JSON.stringify(document.data));
        hash.update(Int32Array.of(document.tokens.length)).update(document.tokens).update(document.targets);
      }
      // Tokenising is synchronous: let timers and signals through now and then.
      if (performance.now() - lastPause > 15) {
        await new Promise(setImmediate);
        lastPause = performance.now();
      }
    }
  }
  if (documents.length === 0) {
    const reason =
      report.rows === 0
        ? 'no rows'
        : `${report.dropped} of ${report.rows} rows dropped as longer than ${options.maxTokens} tokens`;
    throw new UserError(
      `${files.join(', ')}: Expected at least one row to train on but received nothing to train: ${reason}`,
    );
  }
  return { documents, report, fingerprint: hash.digest('hex') };
}

/** The document of a row, cut if need be, or null for one that is dropped. */
function fitRow(row: unknown, options: DatasetOptions, report: Mutable<DatasetReport>): TrainingDocument | null {
  const { id, messages, ...further } = parseStrict(conversationRow, row);
  const { tokens, labels } = encodeConversation(messages.map(toMessage), options.template, options.tokenizer);
  const data = options.keepData ? further : {};
  const whole = createDocument(id === undefined ? '' : String(id), tokens, labels, data);
  ++report.rows;
  report.longest = Math.max(report.longest, tokens.length);
  if (whole.trained === 0) {
    throw new UserError('Expected an assistant message to train on but received nothing to train; remove the row');
  }
  options.checkRow?.(whole);
  if (tokens.length <= options.maxTokens) return whole;
  if (options.overlong === 'error') {
    throw new UserError(
      `Expected at most ${options.maxTokens} tokens but received ${tokens.length}; raise 'sequenceLength' or set 'overlong' to drop or truncate`,
    );
  }
  ++report.overlong;
  const cut = createDocument(whole.id, tokens.slice(0, options.maxTokens), labels.slice(0, options.maxTokens), data);
  if (options.overlong === 'truncate' && cut.trained > 0) {
    ++report.truncated;
    return cut;
  }
  ++report.dropped;
  return null;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

function toMessage({
  role,
  content,
  reasoning_content,
}: z.output<typeof conversationRow>['messages'][number]): Message {
  return reasoning_content === undefined ? { role, content } : { role, content, reasoning_content };
}

/** Shifts labels to the token before them. The label of the first token goes: nothing precedes it. */
export function createDocument(
  id: string,
  tokens: readonly number[],
  labels: readonly number[],
  data: TrainingDocument['data'] = {},
): TrainingDocument {
  const targets = new Int32Array(tokens.length).fill(-1);
  let trained = 0;
  for (let position = 1; position < tokens.length; ++position) {
    const label = labels[position]!;
    targets[position - 1] = label;
    if (label >= 0) ++trained;
  }
  return { id, tokens: Int32Array.from(tokens), targets, trained, data };
}
