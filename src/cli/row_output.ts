/**
 * A JSONL file that appears whole or not at all. Rows are appended to a file beside it as they come, each with one write,
 * and it is renamed at the end; the same work started again goes on from what a stopped run left there.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../errors.js';

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
  /** Ids whose rows a stopped run left complete. */
  readonly finishedIds: ReadonlySet<string>;
  #rows = 0;
  #file: number;

  /**
   * @param dependencies what the rows are a function of: data, parameters, model
   * @param rowsPerId an id with fewer rows is not finished; its rows are dropped and come again
   */
  constructor(path: string, dependencies: unknown, rowsPerId = 1) {
    const key = createHash('sha256').update(JSON.stringify(dependencies)).digest('hex').slice(0, 12);
    this.path = path;
    this.partialPath = `${path}.${key}.partial`;
    const kept = completeRows(this.partialPath, rowsPerId);
    this.finishedIds = new Set(kept.keys());
    const lines = [...kept.values()].flat();
    this.#rows = lines.length;
    writeFileSync(`${this.partialPath}.tmp`, lines.map((line) => `${line}\n`).join(''));
    renameSync(`${this.partialPath}.tmp`, this.partialPath);
    this.#file = openSync(this.partialPath, 'a');
  }

  /** Rows written, those of a stopped run included. */
  get rows(): number {
    return this.#rows;
  }

  append<R extends OutputRow>(row: R): void {
    writeSync(this.#file, `${JSON.stringify(row)}\n`);
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
}

/** The lines of each id that has all its rows. What stands after the last line feed was cut off while being written. */
function completeRows(path: string, rowsPerId: number): Map<string, string[]> {
  const linesOf = new Map<string, string[]>();
  if (!existsSync(path)) return linesOf;
  for (const line of readFileSync(path, 'utf8').split('\n').slice(0, -1)) {
    const id = idOf(line);
    if (id !== null) linesOf.set(id, [...(linesOf.get(id) ?? []), line]);
  }
  for (const [id, lines] of linesOf) if (lines.length !== rowsPerId) linesOf.delete(id);
  return linesOf;
}

/** Null for a row that failed, which is tried again, and for a line that a crash of the machine left damaged. */
function idOf(line: string): string | null {
  try {
    const row = JSON.parse(line) as OutputRow & { error?: string };
    return row.error === undefined ? String(row.id) : null;
  } catch {
    return null;
  }
}
