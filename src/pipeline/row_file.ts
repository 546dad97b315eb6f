/**
 * A stage's rows as JSON Lines, of which only the places are in memory: key, id, whether the row is usable, and where it
 * lies. A row is appended with one write and is there whole or not at all: what stands behind the last line feed when the
 * file is opened was being written when the process ended, and is cut off.
 */
import { closeSync, fstatSync, fsyncSync, ftruncateSync, mkdirSync, openSync, readSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../errors.js';
import { writeAll, writePiecesAtomically, writing } from './files.js';

export interface Row {
  /** Identity of the row, see identity.ts. */
  key: string;
  /** Of the question. */
  id: string;
  /** Whether later stages can use it. */
  ok: boolean;
  /** What decided that beside the row's own text, as a fingerprint; absent where nothing is judged. */
  judged?: string;
}

interface Place {
  readonly id: string;
  readonly ok: boolean;
  readonly judged: string | undefined;
  readonly offset: number;
  /** Without the line feed. */
  readonly length: number;
}

const chunkBytes = 1 << 20;
const lineFeed = 0x0a;

function openIfThere(path: string): number | null {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function readAt(file: number, offset: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const read = readSync(file, bytes, done, length - done, offset + done);
    if (read === 0) return bytes.subarray(0, done);
    done += read;
  }
  return bytes;
}

/** The whole lines of a file with their offsets; bytes behind the last line feed are not among them. */
function* linesOf(file: number): Generator<{ line: Buffer; offset: number }> {
  let rest: Buffer = Buffer.alloc(0);
  let position = 0;
  for (;;) {
    const chunk = readAt(file, position, chunkBytes);
    if (chunk.length === 0) return;
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const begin = position - rest.length;
    position += chunk.length;
    let start = 0;
    for (let end = bytes.indexOf(lineFeed); end >= 0; end = bytes.indexOf(lineFeed, start)) {
      yield { line: bytes.subarray(start, end), offset: begin + start };
      start = end + 1;
    }
    rest = bytes.subarray(start);
  }
}

export class RowFile<R extends Row> {
  readonly path: string;
  /** In the order on disk. */
  readonly #places = new Map<string, Place>();
  readonly #readOnly: boolean;
  #reader: number | null = null;
  #writer: number | null = null;
  #end = 0;
  /** More lines than rows: a row stands there twice. */
  #doubled = false;

  /**
   * Finds the rows that are there. An absent file has none.
   * @param options.readOnly leaves the file as it is: a torn last row stays, `append` and `finalise` write nothing
   */
  constructor(path: string, { readOnly = false }: { readOnly?: boolean } = {}) {
    this.path = path;
    this.#readOnly = readOnly;
    this.#open();
  }

  #open(): void {
    this.#places.clear();
    this.#end = 0;
    this.#doubled = false;
    this.#reader = openIfThere(this.path);
    if (this.#reader === null) return;
    let number = 0;
    for (const { line, offset } of linesOf(this.#reader)) {
      number++;
      this.#places.set(...this.#parse(line, offset, number));
      this.#end = offset + line.length + 1;
    }
    this.#doubled = number !== this.#places.size;
    const size = fstatSync(this.#reader).size;
    if (this.#end < size && !this.#readOnly) writing(this.path, () => truncateSync(this.path, this.#end));
  }

  #parse(line: Buffer, offset: number, number: number): [string, Place] {
    try {
      const { key, id, ok, judged } = JSON.parse(line.toString('utf8')) as R;
      if (typeof key !== 'string' || typeof id !== 'string') throw new Error('no key');
      return [key, { id, ok: ok === true, judged, offset, length: line.length }];
    } catch {
      throw new UserError(`${this.path}:${number}: Expected a row of this run; remove the line, and it is made again`);
    }
  }

  has(key: string): boolean {
    return this.#places.has(key);
  }

  /** Whether a row that is there can be used. */
  isUsable(key: string): boolean {
    return this.#placeOf(key).ok;
  }

  /** The question of a row. */
  idOf(key: string): string {
    return this.#placeOf(key).id;
  }

  /** What a row that is there was judged by. */
  judgedBy(key: string): string | undefined {
    return this.#placeOf(key).judged;
  }

  get size(): number {
    return this.#places.size;
  }

  keys(): IterableIterator<string> {
    return this.#places.keys();
  }

  /** Reads a row from disk. */
  read(key: string): R {
    return JSON.parse(this.#bytesOf(key).toString('utf8')) as R;
  }

  /** Adds a row; one whose key is there already is left as it is. */
  append(row: R): void {
    if (!this.#places.has(row.key)) this.#write(row);
  }

  /** Puts a row in place of the one of the same key; until `finalise` both stand in the file, and the later one counts. */
  replace(row: R): void {
    this.#doubled = true;
    this.#write(row);
  }

  #write(row: R): void {
    const bytes = Buffer.from(`${JSON.stringify(row)}\n`);
    writing(this.path, () => {
      if (this.#writer === null) {
        mkdirSync(dirname(this.path), { recursive: true });
        this.#writer = openSync(this.path, 'a');
      }
      try {
        writeAll(this.#writer, bytes);
      } catch (error) {
        ftruncateSync(this.#writer, this.#end); // Half a row is none.
        throw error;
      }
    });
    const { key, id, ok, judged } = row;
    this.#places.set(key, { id, ok, judged, offset: this.#end, length: bytes.length - 1 });
    this.#end += bytes.length;
  }

  /**
   * Leaves exactly the rows of `keys`, in that order: rows of an earlier prompt or a smaller study go, and a run that
   * was interrupted ends with the same file as one that was not. Every key must be there.
   */
  finalise(keys: readonly string[]): void {
    this.#closeWriter();
    if (keys.length === this.#places.size && !this.#doubled) {
      const there = this.#places.keys();
      if (keys.every((key) => key === there.next().value)) return;
    }
    if (this.#readOnly) return;
    const lines = function* (this: RowFile<R>) {
      for (const key of keys) {
        yield this.#bytesOf(key);
        yield '\n';
      }
    };
    writePiecesAtomically(this.path, lines.call(this));
    this.close();
    this.#open();
  }

  close(): void {
    this.#closeWriter();
    if (this.#reader !== null) closeSync(this.#reader);
    this.#reader = null;
  }

  #closeWriter(): void {
    if (this.#writer === null) return;
    const writer = this.#writer;
    this.#writer = null;
    try {
      writing(this.path, () => fsyncSync(writer));
    } finally {
      closeSync(writer);
    }
  }

  #placeOf(key: string): Place {
    const place = this.#places.get(key);
    if (place === undefined) throw new Error(`Expected ${this.path} to hold row ${key}`);
    return place;
  }

  #bytesOf(key: string): Buffer {
    const { offset, length } = this.#placeOf(key);
    this.#reader ??= openSync(this.path, 'r');
    return readAt(this.#reader, offset, length);
  }
}
