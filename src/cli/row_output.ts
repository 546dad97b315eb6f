/**
 * A JSONL file that appears whole or not at all. Rows are appended to a file beside it as they come, each with one write,
 * and it is renamed at the end; the same work started again goes on from what a stopped run left there.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import { UserError } from '../errors.js';
import { IdIndex } from './id_index.js';

export interface OutputRow {
  id: string | number;
}

/** @throws UserError when `path` cannot become a file; to be called before a model is loaded. */
export function checkOutput(path: string): void {
  const folder = dirname(path);
  if (!existsSync(folder)) throw new UserError(`Expected the folder of '${path}' to exist: mkdir -p ${folder}`);
  if (existsSync(path) && !statSync(path).isFile())
    throw new UserError(`Expected '${path}' to be a file but it is something else: give the path of a file`);
}

export class RowOutput {
  readonly path: string;
  /** Where rows are until `finish`. Its name holds what the rows depend on, so other work never goes on from it. */
  readonly partialPath: string;
  #finished = new IdIndex();
  #rows = 0;
  #file = -1;

  /**
   * Goes on from what a stopped run left complete. One row is in memory at a time, however many there are.
   *
   * @param dependencies what the rows are a function of: data, parameters, model
   * @param rowsOf how many rows an id has; one with fewer is not finished: its rows are dropped and come again. Default 1.
   */
  static async open(path: string, dependencies: unknown, rowsOf?: (id: string) => number): Promise<RowOutput> {
    const output = new RowOutput(path, dependencies);
    await output.#resume(rowsOf ?? (() => 1));
    return output;
  }

  private constructor(path: string, dependencies: unknown) {
    const key = createHash('sha256').update(JSON.stringify(dependencies)).digest('hex').slice(0, 12);
    this.path = path;
    this.partialPath = `${path}.${key}.partial`;
  }

  /** Rows written, those of a stopped run included. */
  get rows(): number {
    return this.#rows;
  }

  /** Whether a stopped run left all rows of an id. */
  isFinished(id: string): boolean {
    return this.#finished.find(id) >= 0;
  }

  append<R extends OutputRow>(row: R): void {
    appendFileSync(this.#file, `${JSON.stringify(row)}\n`); // all of it, unlike writeSync on a disk that fills up
    this.#rows += 1;
  }

  /** The file is complete: it takes its name. */
  finish(): void {
    fsyncSync(this.#file);
    closeSync(this.#file);
    renameSync(this.partialPath, this.path);
  }

  /** Keeps what is there for the next run; a file without rows goes. */
  stop(): void {
    if (this.#rows === 0) this.discard();
    else closeSync(this.#file);
  }

  /** Nothing is worth keeping. */
  discard(): void {
    closeSync(this.#file);
    rmSync(this.partialPath, { force: true });
  }

  async #resume(rowsOf: (id: string) => number): Promise<void> {
    const ids = new IdIndex();
    const rows: number[] = [];
    for await (const { id } of soundRows(this.partialPath)) {
      const known = ids.find(id);
      const number = known < 0 ? ids.add(id) : known;
      rows[number] = (rows[number] ?? 0) + 1;
    }
    const fresh = openSync(`${this.partialPath}.tmp`, 'w');
    for await (const { id, line } of soundRows(this.partialPath)) {
      if (rows[ids.find(id)] !== rowsOf(id)) continue;
      if (this.#finished.find(id) < 0) this.#finished.add(id);
      appendFileSync(fresh, `${line}\n`);
      this.#rows += 1;
    }
    closeSync(fresh);
    renameSync(`${this.partialPath}.tmp`, this.partialPath);
    this.#file = openSync(this.partialPath, 'a');
  }
}

/** All rows but those that failed, which are tried again, and lines that were cut off or damaged. */
async function* soundRows(path: string): AsyncGenerator<{ id: string; line: string }> {
  if (!existsSync(path)) return;
  const lines = createInterface({ input: createReadStream(path, 'utf8'), crlfDelay: Number.POSITIVE_INFINITY });
  for await (const line of lines) {
    const id = idOf(line);
    if (id !== null) yield { id, line };
  }
}

function idOf(line: string): string | null {
  try {
    const row = JSON.parse(line) as OutputRow & { error?: string };
    return row.error === undefined ? String(row.id) : null;
  } catch {
    return null;
  }
}
