// The rows of a run as its parts see them: numbers about all of them in typed arrays, contents one row at a time.

import { hashToInteger } from '../data/draws.js';

/** A conversation ready for training. Token t is trained to predict `targets[t]`; −1: not trained. */
export interface TrainingDocument {
  readonly id: string;
  readonly tokens: Int32Array;
  readonly targets: Int32Array;
  /** How many targets are not −1. */
  readonly trained: number;
  /** What its row says beside `id` and `messages`; empty unless an objective may ask for it. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** Documents by number, from 0 to `count` − 1. */
export interface Documents {
  readonly count: number;
  /** Tokens of each. */
  readonly lengths: Uint32Array;
  /** Trained tokens of each. */
  readonly trained: Uint32Array;
  /** 48 bits of a hash of each one's id: the same for rows of one id. */
  readonly identities: Float64Array;
  /** The document of that number; may be read from a file only when its contents are looked at. */
  at(index: number): TrainingDocument;
  /** Those of the given numbers, in their order. */
  subset(indices: Uint32Array): Documents;
}

/** Documents that lie in memory. */
export function documentsInMemory(documents: readonly TrainingDocument[]): Documents {
  return {
    count: documents.length,
    lengths: Uint32Array.from(documents, ({ tokens }) => tokens.length),
    trained: Uint32Array.from(documents, ({ trained }) => trained),
    identities: Float64Array.from(documents, ({ id }) => hashToInteger(id)),
    at: (index) => documents[index]!,
    subset: (indices) => documentsInMemory(Array.from(indices, (index) => documents[index]!)),
  };
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
