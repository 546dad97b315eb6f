/** Reasoning by question, read from disk when it is asked for. */
import type { Row, RowFile } from './row_file.js';

export class ReasoningSource<R extends Row & { reasoning: string }> {
  readonly #file: RowFile<R>;
  readonly #keys = new Map<string, string>();

  /** @param keys rows of `file`; those that are not usable are left out, and the last one of a question counts */
  constructor(file: RowFile<R>, keys: Iterable<string>) {
    this.#file = file;
    for (const key of keys) if (file.isUsable(key)) this.#keys.set(file.idOf(key), key);
  }

  has(id: string): boolean {
    return this.#keys.has(id);
  }

  get size(): number {
    return this.#keys.size;
  }

  row(id: string): R {
    const key = this.#keys.get(id);
    if (key === undefined) throw new Error(`Expected ${this.#file.path} to hold a usable row of question ${id}`);
    return this.#file.read(key);
  }

  reasoning(id: string): string {
    return this.row(id).reasoning;
  }
}
