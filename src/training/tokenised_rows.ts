// Rows of training data as tokens, in the form in which they go from thread to thread and into a file.

/** Set in a token that is trained. */
export const trainedBit = 0x8000_0000;

/** Numbers about rows, one of each kind per row. */
export interface RowIndex {
  /** 48 bits of a hash of the id. */
  readonly identities: Float64Array;
  /** Tokens. */
  readonly lengths: Uint32Array;
  /** Trained tokens. */
  readonly trained: Uint32Array;
  /** Bytes of JSON behind the tokens. */
  readonly dataBytes: Uint32Array;
  /** The line in the row's file, from 1. */
  readonly lines: Uint32Array;
}

const kinds = ['lengths', 'trained', 'dataBytes', 'lines'] as const;
const bytesPerRow = 8 + 4 * kinds.length;

/** Consecutive rows, their contents one after another. */
export interface TokenisedRows extends RowIndex {
  /** Of each row: its tokens, u32, with {@link trainedBit}; then UTF-8 JSON, `[id or null, further keys]`. */
  readonly records: Uint8Array<ArrayBuffer>;
}

export interface TokenisedRow {
  readonly tokens: readonly number[];
  /** −1 where the token is not trained. That of the first token goes: nothing precedes it. */
  readonly labels: readonly number[];
  readonly id: string | null;
  readonly data: object;
  readonly identity: number;
  readonly line: number;
}

/** Collects rows. */
export class RowsBuilder {
  readonly #parts: Uint8Array[] = [];
  readonly #numbers = { identities: [], lengths: [], trained: [], dataBytes: [], lines: [] } as Record<
    keyof RowIndex,
    number[]
  >;

  get count(): number {
    return this.#parts.length / 2;
  }

  add({ tokens, labels, id, data, identity, line }: TokenisedRow): void {
    const words = Uint32Array.from(tokens);
    let trained = 0;
    for (let position = 1; position < words.length; ++position) {
      if (labels[position]! < 0) continue;
      words[position]! |= trainedBit;
      ++trained;
    }
    const json = Buffer.from(JSON.stringify([id, data]));
    this.#parts.push(new Uint8Array(words.buffer), json);
    const numbers = this.#numbers;
    numbers.identities.push(identity);
    numbers.lengths.push(words.length);
    numbers.trained.push(trained);
    numbers.dataBytes.push(json.length);
    numbers.lines.push(line);
  }

  build(): TokenisedRows {
    const records = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0));
    let offset = 0;
    for (const part of this.#parts) {
      records.set(part, offset);
      offset += part.length;
    }
    const { identities, lengths, trained, dataBytes, lines } = this.#numbers;
    return {
      records,
      identities: Float64Array.from(identities),
      lengths: Uint32Array.from(lengths),
      trained: Uint32Array.from(trained),
      dataBytes: Uint32Array.from(dataBytes),
      lines: Uint32Array.from(lines),
    };
  }
}

/** The bytes of an index of so many rows in a file. */
export function indexBytes(rows: number): number {
  return rows * bytesPerRow;
}

/** What a file holds of the indices of all batches together: identities, then each of the other kinds. */
export function* indexParts(batches: readonly RowIndex[]): Generator<Uint8Array> {
  for (const kind of ['identities', ...kinds] as const)
    for (const { [kind]: values } of batches) yield new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** The index that {@link indexParts} wrote. */
export function readIndex(buffer: ArrayBuffer, rows: number): RowIndex {
  const [lengths, trained, dataBytes, lines] = kinds.map(
    (_, nth) => new Uint32Array(buffer, rows * (8 + 4 * nth), rows),
  );
  return {
    identities: new Float64Array(buffer, 0, rows),
    lengths: lengths!,
    trained: trained!,
    dataBytes: dataBytes!,
    lines: lines!,
  };
}
