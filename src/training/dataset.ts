// JSON Lines of conversations into the documents of a run: tokenised once into a file, then read from it row by row.

import { open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { UserError } from '../errors.js';
import type { ModelFiles } from '../weights/model_files.js';
import { type DataFormat, plainFormat } from './data_format.js';
import type { CheckRow } from './objectives/objective.js';
import { Pauses } from './pauses.js';
import { StoredDocuments } from './stored_documents.js';
import { LineError, type TokenisedLines, tokeniseLines } from './tokenise.js';
import { TokenisePool } from './tokenise_pool.js';
import { cacheKey, defaultTokenisedFolder, openCached, storeCached, unreadable } from './tokenised_cache.js';
import { TokenisedDocument, type TokenisedFile } from './tokenised_file.js';
import type { TokenisedRows } from './tokenised_rows.js';

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
  /** The most tokens that a row may have. */
  readonly maxTokens: number;
  /** The tokenised rows were there from an earlier run. */
  readonly reused: boolean;
}

export interface Dataset {
  readonly documents: StoredDocuments;
  readonly report: DatasetReport;
  /** Changes with tokens, targets, ids and kept data of the documents. */
  readonly fingerprint: string;
  /** Ends the reading of documents. */
  close(): void;
}

/** How far tokenising is. */
export interface TokeniseProgress {
  readonly rows: number;
  readonly tokens: number;
  /** Of the files. */
  readonly bytes: number;
  readonly totalBytes: number;
  /** Nothing follows. */
  readonly done: boolean;
}

export interface DatasetOptions {
  /** Whose tokenizer and chat template to use; it has both. */
  readonly model: ModelFiles;
  /** The most tokens a document may have. */
  readonly maxTokens: number;
  readonly overlong: 'drop' | 'truncate' | 'error';
  /** How rows name things. Default: as this project writes them. */
  readonly format?: DataFormat;
  /** Keep the further keys of the rows, for an objective that may ask for them. Default: false. */
  readonly keepData?: boolean;
  /** What the objective demands of a row. */
  readonly checkRow?: CheckRow | null;
  /** Where tokenised data is kept. Default: `tokenised` in the user's cache. */
  readonly folder?: string | undefined;
  /** Threads that tokenise, if there is enough to do. Default: all cores. */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: TokeniseProgress) => void) | undefined;
}

/**
 * Tokenises every row of `files`, or finds that done.
 * @throws {UserError} one line with file and line for a malformed row, a row with nothing to train, an over-long row (with
 *   `overlong: 'error'`), and for data in which nothing is left to train
 */
export async function loadDataset(files: readonly string[], options: DatasetOptions): Promise<Dataset> {
  const { model, folder = defaultTokenisedFolder(), format = plainFormat, keepData = false, signal } = options;
  signal?.throwIfAborted();
  const key = await cacheKey(files, { text: await model.textFingerprint(), format, keepData }, signal);
  const cached = await openCached(folder, key);
  const file = cached ?? (await storeCached(folder, key, tokeniseFiles(files, options)));
  try {
    const { documents, ...counts } = await select(file, files, options);
    if (options.checkRow) await checkRows(file, documents, options.checkRow, signal);
    if (documents.count === 0) {
      const reason =
        file.info.rows === 0
          ? 'no rows'
          : `${counts.dropped} of ${file.info.rows} rows dropped as longer than ${options.maxTokens} tokens`;
      throw new UserError(
        `${files.join(', ')}: Expected at least one row to train on but received nothing to train: ${reason}`,
      );
    }
    const { rows, longest, fingerprint } = file.info;
    const { maxTokens, overlong } = options;
    return {
      documents,
      report: { rows, longest, maxTokens, ...counts, reused: cached !== null },
      fingerprint: `${fingerprint} ${counts.overlong > 0 ? `${overlong} at ${maxTokens}` : ''}`,
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Data below this is tokenised in this thread: others would take longer to start. */
const bytesWorthThreads = 2 ** 20;
/** Bytes that a thread gets at a time. */
const batchBytes = 2 ** 18;

/** The rows of all files in order. */
async function* tokeniseFiles(
  files: readonly string[],
  {
    model,
    format = plainFormat,
    keepData = false,
    threads = availableParallelism(),
    signal,
    onProgress,
  }: DatasetOptions,
): AsyncGenerator<{ file: number; rows: TokenisedRows }> {
  const sizes = await Promise.all(files.map(fileSize));
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  const pool =
    totalBytes < bytesWorthThreads
      ? null
      : new TokenisePool(threads, { model: model.path, text: model.textOptions, format, keepData });
  const pauses = new Pauses();
  const settings = { tokenizer: model.tokenizer!, template: model.chatTemplate!, format, keepData };
  const [done, before] = [
    { rows: 0, tokens: 0, bytes: 0 },
    { file: -1, lines: 0 },
  ];
  /** Waits for a batch, and makes of its numbers those of the whole. */
  const finish = async ({ file, bytes, work }: Batch): Promise<{ file: number; rows: TokenisedRows }> => {
    if (file !== before.file) Object.assign(before, { file, lines: 0 });
    try {
      const { rows, lines } = await work;
      rows.lines.forEach((line, index) => {
        rows.lines[index] = line + before.lines;
      });
      rows.identities.forEach((identity, index) => {
        // Beyond 48 bits, so that no hash of an id is the same.
        if (Number.isNaN(identity)) rows.identities[index] = 2 ** 48 + done.rows + index;
      });
      before.lines += lines;
      done.rows += rows.lengths.length;
      done.tokens += rows.lengths.reduce((sum, length) => sum + length, 0);
      done.bytes += bytes;
      onProgress?.({ ...done, totalBytes, done: false });
      return { file, rows };
    } catch (error) {
      if (!(error instanceof LineError)) throw error;
      throw new UserError(`${files[file]}:${before.lines + error.line}: ${error.message}`);
    }
  };
  const ahead = pool === null ? 0 : 2 * pool.size;
  const waiting: Batch[] = [];
  try {
    for (const [file, path] of files.entries()) {
      for await (const lines of readLines(path)) {
        signal?.throwIfAborted();
        const bytes = lines.length;
        const work = pool === null ? tokeniseLines(lines, settings, pauses) : pool.tokenise(lines);
        work.catch(() => {}); // heard of when it is its turn
        waiting.push({ file, bytes, work });
        if (waiting.length > ahead) yield await finish(waiting.shift()!);
      }
    }
    for (const batch of waiting) {
      signal?.throwIfAborted();
      yield await finish(batch);
    }
    onProgress?.({ ...done, bytes: totalBytes, totalBytes, done: true });
  } finally {
    await pool?.close();
  }
}

interface Batch {
  readonly file: number;
  readonly bytes: number;
  readonly work: Promise<TokenisedLines>;
}

async function fileSize(path: string): Promise<number> {
  try {
    await using file = await open(path);
    return (await file.stat()).size;
  } catch (error) {
    throw unreadable(path, error as NodeJS.ErrnoException);
  }
}

/** A file in pieces of whole lines, without its byte order mark. */
async function* readLines(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  await using file = await open(path);
  let rest = new Uint8Array(0);
  let start = true;
  for (;;) {
    const buffer = Buffer.from(new ArrayBuffer(rest.length + batchBytes));
    buffer.set(rest);
    const { bytesRead } = await file.read(buffer, rest.length, batchBytes, null);
    let bytes = buffer.subarray(0, rest.length + bytesRead);
    if (start && bytes.subarray(0, 3).equals(Uint8Array.of(0xef, 0xbb, 0xbf))) bytes = bytes.subarray(3);
    start = false;
    const end = bytesRead === 0 ? bytes.length : bytes.lastIndexOf(10) + 1;
    if (end > 0) yield Uint8Array.from(bytes.subarray(0, end));
    if (bytesRead === 0) return;
    rest = Uint8Array.from(bytes.subarray(end));
  }
}

/** The rows to train on: all that are not too long, and the beginnings of those that are where they shall be cut. */
async function select(file: TokenisedFile, files: readonly string[], { maxTokens, overlong }: DatasetOptions) {
  const { index, info } = file;
  const lengths = index.lengths.slice();
  const trained = index.trained.slice();
  const counts = { overlong: 0, truncated: 0, dropped: 0, tokens: 0, trainedTokens: 0 };
  const rows = new Uint32Array(info.rows);
  for (let row = 0; row < info.rows; ++row) rows[row] = row;
  const all = { path: file.path, files, rows, lengths, trained };
  const documents = new StoredDocuments(file, { ...all, identities: index.identities });
  const pauses = new Pauses();
  for (let row = 0; row < info.rows; ++row) {
    const length = lengths[row]!;
    if (length > maxTokens) {
      if (overlong === 'error') {
        throw new UserError(
          `${documents.where(row)}: Expected at most ${maxTokens} tokens but received ${length}; raise 'sequenceLength' or set 'overlong' to drop or truncate`,
        );
      }
      ++counts.overlong;
      trained[row] = overlong === 'truncate' ? trainedAmong(file, row, maxTokens) : 0;
      lengths[row] = maxTokens;
      ++counts[trained[row]! > 0 ? 'truncated' : 'dropped'];
    }
    if (trained[row]! > 0) {
      counts.tokens += lengths[row]!;
      counts.trainedTokens += trained[row]!;
    }
    if (row % 64 === 0 && pauses.due()) await pauses.turn();
  }
  if (counts.dropped === 0) return { documents, ...counts };
  return { documents: documents.subset(rows.filter((row) => trained[row]! > 0)), ...counts };
}

function trainedAmong(file: TokenisedFile, row: number, tokens: number): number {
  const { targets } = new TokenisedDocument(file, row, tokens, 0, '');
  return targets.reduce((count, target) => count + Number(target >= 0), 0);
}

/** Calls `checkRow` with every whole row of the documents. */
async function checkRows(
  file: TokenisedFile,
  documents: StoredDocuments,
  checkRow: CheckRow,
  signal: AbortSignal | undefined,
): Promise<void> {
  const pauses = new Pauses();
  const { lengths, trained } = file.index;
  for (const [index, row] of documents.selection.rows.entries()) {
    const where = documents.where(index);
    try {
      checkRow(new TokenisedDocument(file, row, lengths[row]!, trained[row]!, where));
    } catch (error) {
      throw new UserError(`${where}: ${(error as Error).message}`);
    }
    if (pauses.due()) {
      await pauses.turn();
      signal?.throwIfAborted();
    }
  }
}
