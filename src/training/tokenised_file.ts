// A file of tokenised rows, written once and then read by position, so that a dataset of any size takes no memory but its index.
//
// Layout, little-endian: the records of all rows one after another, then the index, then its description.
//   record       the row's n tokens, u32 [n], the highest bit set where a token is trained; then its data, `dataBytes` of UTF-8
//                JSON: [id or null, further keys]
//   index        of all R rows: identities f64 [R], lengths u32 [R] (n), trained u32 [R], dataBytes u32 [R], lines u32 [R]
//   description  UTF-8 JSON, its length in bytes as u32, and the four bytes 'CDTR'

import { createHash, randomUUID } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { TrainingDocument } from './documents.js';
import { Pauses } from './pauses.js';
import { indexBytes, indexParts, type RowIndex, readIndex, type TokenisedRows, trainedBit } from './tokenised_rows.js';

const magic = Buffer.from('CDTR');

/** What is said about a file as a whole. */
export interface TokenisedInfo {
  readonly rows: number;
  readonly tokens: number;
  readonly trainedTokens: number;
  /** Tokens of the longest row. */
  readonly longest: number;
  /** The number of the first row of each file that the rows came from. */
  readonly firstRows: readonly number[];
  /** SHA-256 of tokens, what of them is trained, ids and data of all rows. */
  readonly fingerprint: string;
}

/**
 * Writes a file under a temporary name, synced and renamed at the end.
 * @param batchesOfFiles rows in their order, with the number of the file that they are from
 * @throws what `batchesOfFiles` throws, and errors of the file system; then nothing is left behind
 */
export async function writeTokenised(
  path: string,
  batchesOfFiles: AsyncIterable<{ readonly file: number; readonly rows: TokenisedRows }>,
): Promise<TokenisedInfo> {
  const temporary = join(dirname(path), `.${basename(path)}.tmp-${randomUUID()}`);
  const file = await open(temporary, 'w');
  try {
    const hash = createHash('sha256');
    const batches: RowIndex[] = [];
    const firstRows: number[] = [];
    let [count, tokens, trainedTokens, longest] = [0, 0, 0, 0];
    for await (const { file: number, rows: batch } of batchesOfFiles) {
      while (firstRows.length <= number) firstRows.push(count);
      const { records, ...index } = batch;
      await writeAll(file, records);
      hash.update(records).update(index.lengths).update(index.identities);
      batches.push(index);
      count += index.lengths.length;
      for (const [row, length] of index.lengths.entries()) {
        tokens += length;
        trainedTokens += index.trained[row]!;
        longest = Math.max(longest, length);
      }
    }
    for (const part of indexParts(batches)) await writeAll(file, part);
    const info = { rows: count, tokens, trainedTokens, longest, firstRows, fingerprint: hash.digest('hex') };
    const description = Buffer.from(JSON.stringify(info));
    const end = Buffer.alloc(8);
    end.writeUInt32LE(description.length);
    magic.copy(end, 4);
    await writeAll(file, Buffer.concat([description, end]));
    await file.sync();
    await file.close();
    await rename(temporary, path);
    return info;
  } catch (error) {
    await file.close().catch(() => {});
    await rm(temporary, { force: true });
    throw error;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let start = 0; start < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, start, bytes.byteLength - start);
    start += bytesWritten;
  }
}

/** A file that holds something else than it should. */
export class DamagedFileError extends Error {
  override readonly name = 'DamagedFileError';
}

/** An open file: its index in memory, its rows read when they are asked for. */
export class TokenisedFile {
  readonly path: string;
  readonly info: TokenisedInfo;
  readonly index: RowIndex;
  readonly #offsets: Float64Array;
  #descriptor: number;

  private constructor(path: string, descriptor: number, info: TokenisedInfo, index: RowIndex, offsets: Float64Array) {
    this.path = path;
    this.info = info;
    this.index = index;
    this.#descriptor = descriptor;
    this.#offsets = offsets;
  }

  /**
   * @throws {DamagedFileError} when the file is not whole
   * @throws Error of the file system when it cannot be opened or read
   */
  static async open(path: string): Promise<TokenisedFile> {
    await using file = await open(path);
    const damaged = (cause?: unknown) => new DamagedFileError(`${path} is not whole`, { cause });
    const { size } = await file.stat();
    const read = async (start: number, bytes: number): Promise<Buffer<ArrayBuffer>> => {
      if (start < 0 || !(bytes >= 0 && bytes <= size)) throw damaged();
      const buffer = Buffer.from(new ArrayBuffer(bytes));
      for (let done = 0; done < bytes; ) {
        const { bytesRead } = await file.read(buffer, done, bytes - done, start + done);
        if (bytesRead === 0) throw damaged();
        done += bytesRead;
      }
      return buffer;
    };
    const end = await read(size - 8, 8);
    if (!end.subarray(4).equals(magic)) throw damaged();
    const descriptionStart = size - 8 - end.readUInt32LE(0);
    const description = await read(descriptionStart, size - 8 - descriptionStart);
    let info: TokenisedInfo;
    try {
      info = JSON.parse(description.toString()) as TokenisedInfo;
    } catch (error) {
      throw damaged(error);
    }
    const bytes = indexBytes(info.rows);
    const index = readIndex((await read(descriptionStart - bytes, bytes)).buffer, info.rows);
    const offsets = new Float64Array(info.rows + 1);
    const pauses = new Pauses();
    for (let row = 0; row < info.rows; ++row) {
      offsets[row + 1] = offsets[row]! + 4 * index.lengths[row]! + index.dataBytes[row]!;
      if (row % 1024 === 0 && pauses.due()) await pauses.turn();
    }
    return new TokenisedFile(path, openSync(path, 'r'), info, index, offsets);
  }

  /** The row's tokens with {@link trainedBit}, and its JSON. Blocks, for some microseconds where the system has the page in memory. */
  read(row: number): { words: Uint32Array; json: string } {
    const [start, length] = [this.#offsets[row]!, this.index.lengths[row]!];
    const record = Buffer.from(new ArrayBuffer(this.#offsets[row + 1]! - start));
    const bytesRead = readSync(this.#descriptor, record, 0, record.length, start);
    if (bytesRead !== record.length)
      throw new Error(`Expected ${record.length} bytes at ${start} of ${this.path} but received ${bytesRead}`);
    return { words: new Uint32Array(record.buffer, 0, length), json: record.toString('utf8', 4 * length) };
  }

  close(): void {
    if (this.#descriptor >= 0) closeSync(this.#descriptor);
    this.#descriptor = -1;
  }
}

/** A row of a file as a document; what it holds is read when it is first looked at. */
export class TokenisedDocument implements TrainingDocument {
  readonly trained: number;
  readonly #file: TokenisedFile;
  readonly #row: number;
  readonly #length: number;
  readonly #name: string;
  #contents: Omit<TrainingDocument, 'trained'> | null = null;

  /**
   * @param length the first so many tokens of the row, of which `trained` are trained
   * @param name the id where the row has none
   */
  constructor(file: TokenisedFile, row: number, length: number, trained: number, name: string) {
    this.#file = file;
    this.#row = row;
    this.#length = length;
    this.#name = name;
    this.trained = trained;
  }

  get id(): string {
    return this.#read().id;
  }

  get tokens(): Int32Array {
    return this.#read().tokens;
  }

  get targets(): Int32Array {
    return this.#read().targets;
  }

  get data(): TrainingDocument['data'] {
    return this.#read().data;
  }

  #read(): Omit<TrainingDocument, 'trained'> {
    if (this.#contents) return this.#contents;
    const { words, json } = this.#file.read(this.#row);
    const [id, data] = JSON.parse(json) as [string | null, Record<string, unknown>];
    const tokens = new Int32Array(this.#length);
    const targets = new Int32Array(this.#length).fill(-1);
    for (let position = 0; position < this.#length; ++position) {
      const word = words[position]!;
      tokens[position] = word & ~trainedBit;
      if (word >= trainedBit) targets[position - 1] = tokens[position]!;
    }
    this.#contents = { id: id ?? this.#name, tokens, targets, data };
    return this.#contents;
  }
}
