/**
 * A stage's rows as JSON Lines. A row is appended with one write and is there whole or not at all: what stands behind
 * the last line feed when the file is opened was being written when the process ended, and is cut off.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, truncateSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../errors.js';

export interface Row {
  /** Identity of the row, see identity.ts. */
  key: string;
}

/** Writes a whole file or none of it: a temporary file beside it, synced, then renamed. */
export function writeFileAtomically(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.tmp`;
  const file = openSync(temporary, 'w');
  try {
    writeAll(file, Buffer.from(text));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
}

function writeAll(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

export class RowFile<R extends Row> {
  readonly path: string;
  readonly #rows = new Map<string, R>();
  /** The order on disk, to know whether `finalise` has anything to do. */
  #order: string[] = [];
  #file: number | null = null;

  /** Reads the rows that are there and cuts off a torn last one. An absent file has no rows. */
  constructor(path: string) {
    this.path = path;
    const text = readText(path);
    const end = text.lastIndexOf('\n') + 1;
    if (end < text.length) truncateSync(path, Buffer.byteLength(text.slice(0, end)));
    for (const [index, line] of text.slice(0, end).split('\n').slice(0, -1).entries()) {
      let row: R;
      try {
        row = JSON.parse(line) as R;
        if (typeof row?.key !== 'string') throw new Error('no key');
      } catch {
        throw new UserError(`${path}:${index + 1}: Expected a row of this run; remove the line, and it is made again`);
      }
      this.#rows.set(row.key, row);
      this.#order.push(row.key);
    }
  }

  get(key: string): R | undefined {
    return this.#rows.get(key);
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Adds a row; one whose key is there already is left as it is. */
  append(row: R): void {
    if (this.#rows.has(row.key)) return;
    if (this.#file === null) {
      mkdirSync(dirname(this.path), { recursive: true });
      this.#file = openSync(this.path, 'a');
    }
    writeAll(this.#file, Buffer.from(`${JSON.stringify(row)}\n`));
    this.#rows.set(row.key, row);
    this.#order.push(row.key);
  }

  /**
   * Leaves exactly the rows of `keys`, in that order: rows of an earlier prompt or a smaller study go, and a run that
   * was interrupted ends with the same file as one that was not. Every key must be there.
   * @returns the rows in order
   */
  finalise(keys: readonly string[]): R[] {
    this.close();
    const rows = keys.map((key) => {
      const row = this.#rows.get(key);
      if (row === undefined) throw new Error(`Expected ${this.path} to hold row ${key} before it is finalised`);
      return row;
    });
    if (keys.length !== this.#order.length || keys.some((key, index) => key !== this.#order[index])) {
      writeFileAtomically(this.path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
      this.#order = [...keys];
      this.#rows.clear();
      for (const row of rows) this.#rows.set(row.key, row);
    }
    return rows;
  }

  close(): void {
    if (this.#file !== null) closeSync(this.#file);
    this.#file = null;
  }
}
