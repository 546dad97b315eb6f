// Rows of a tokenised file as the documents of a run: which of them, and how much of each.

import type { Documents } from './documents.js';
import { TokenisedDocument, type TokenisedFile } from './tokenised_file.js';

/** What decides the documents beside the file's contents; can be sent to another thread, which opens the file itself. */
export interface Selection {
  /** Path of the tokenised file. */
  readonly path: string;
  /** The files that its rows came from, to name rows that have no id. */
  readonly files: readonly string[];
  /** The number in the file of each document. */
  readonly rows: Uint32Array;
  /** Tokens of each, from the beginning of its row. */
  readonly lengths: Uint32Array;
  /** Trained tokens among them. */
  readonly trained: Uint32Array;
  readonly identities: Float64Array;
}

export class StoredDocuments implements Documents {
  readonly selection: Selection;
  readonly #file: TokenisedFile;

  /** @param file open for as long as documents are looked at */
  constructor(file: TokenisedFile, selection: Selection) {
    this.#file = file;
    this.selection = selection;
  }

  get count(): number {
    return this.selection.rows.length;
  }

  get lengths(): Uint32Array {
    return this.selection.lengths;
  }

  get trained(): Uint32Array {
    return this.selection.trained;
  }

  get identities(): Float64Array {
    return this.selection.identities;
  }

  at(index: number): TokenisedDocument {
    const { rows, lengths, trained } = this.selection;
    return new TokenisedDocument(this.#file, rows[index]!, lengths[index]!, trained[index]!, this.where(index));
  }

  /** `FILE:LINE` of the row of a document. */
  where(index: number): string {
    const row = this.selection.rows[index]!;
    const file = this.#file.info.firstRows.findLastIndex((first) => first <= row);
    return `${this.selection.files[file]}:${this.#file.index.lines[row]}`;
  }

  subset(indices: Uint32Array): StoredDocuments {
    // Plain loops: a million rows are to take a few milliseconds.
    const pick = <A extends Uint32Array | Float64Array>(values: A, picked: A): A => {
      for (let index = 0; index < indices.length; ++index) picked[index] = values[indices[index]!]!;
      return picked;
    };
    const { rows, lengths, trained, identities } = this.selection;
    const numbers = () => new Uint32Array(indices.length);
    return new StoredDocuments(this.#file, {
      ...this.selection,
      rows: pick(rows, numbers()),
      lengths: pick(lengths, numbers()),
      trained: pick(trained, numbers()),
      identities: pick(identities, new Float64Array(indices.length)),
    });
  }
}
