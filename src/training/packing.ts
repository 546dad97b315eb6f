// Documents into packs: best-fit decreasing into bins of `sequenceLength` tokens. A pack goes through the model as one row
// of tokens; `cuSeqlens` and positions that restart at 0 keep its documents apart.

import { permutation } from './philox.js';

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

/** Which documents share a bin, as indices into the documents that were packed. */
export interface Pack {
  readonly documents: readonly number[];
  readonly tokens: number;
  readonly trained: number;
}

export interface PackingPlan {
  readonly packs: readonly Pack[];
  readonly tokens: number;
  readonly trained: number;
  /** Tokens over the room of all bins, 0 … 1. */
  readonly efficiency: number;
}

/**
 * Packs documents into as few bins as best-fit decreasing finds: longest document first, each into the fullest bin that has
 * room. Documents of equal length come in an order decided by (seed, epoch), and so do the finished packs; the number of
 * packs depends on the lengths alone, so every epoch has as many steps.
 * @param sequenceLength tokens of a bin; every document must fit
 */
export function packDocuments(
  documents: readonly Pick<TrainingDocument, 'tokens' | 'trained'>[],
  sequenceLength: number,
  seed: number,
  epoch: number,
): PackingPlan {
  const byLength = [...permutation(documents.length, seed, 2 * epoch)].sort(
    (a, b) => documents[b]!.tokens.length - documents[a]!.tokens.length,
  );
  const bins: { documents: number[]; tokens: number; trained: number }[] = [];
  const withRoom = new RoomIndex(sequenceLength);
  for (const index of byLength) {
    const document = documents[index]!;
    const length = document.tokens.length;
    if (length < 1 || length > sequenceLength) {
      throw new RangeError(
        `Expected 'documents[${index}]' to have 1 to ${sequenceLength} tokens but received ${length}`,
      );
    }
    const chosen = withRoom.takeFullest(length);
    const bin = chosen === null ? { documents: [], tokens: 0, trained: 0 } : bins[chosen]!;
    if (chosen === null) bins.push(bin);
    bin.documents.push(index);
    bin.tokens += length;
    bin.trained += document.trained;
    withRoom.add(chosen ?? bins.length - 1, sequenceLength - bin.tokens);
  }
  const packs = [...permutation(bins.length, seed, 2 * epoch + 1)].map((index) => bins[index]!);
  const tokens = packs.reduce((sum, pack) => sum + pack.tokens, 0);
  const trained = packs.reduce((sum, pack) => sum + pack.trained, 0);
  return { packs, tokens, trained, efficiency: packs.length === 0 ? 0 : tokens / (packs.length * sequenceLength) };
}

/** Open bins by their room, with the smallest room that suffices found in O(log capacity): a tree of counts over rooms. */
class RoomIndex {
  readonly #leaves: number;
  readonly #counts: Uint32Array;
  readonly #bins = new Map<number, number[]>();

  constructor(capacity: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(capacity + 1));
    this.#counts = new Uint32Array(2 * this.#leaves);
  }

  add(bin: number, room: number): void {
    const bins = this.#bins.get(room);
    if (bins) bins.push(bin);
    else this.#bins.set(room, [bin]);
    this.#count(room, 1);
  }

  /** Removes and returns the earliest opened of the bins with the least room ≥ `needed`, or null. */
  takeFullest(needed: number): number | null {
    let node = needed + this.#leaves;
    // Up to the first subtree, at or right of the leaf `needed`, that holds a bin; then down to its leftmost leaf.
    while (this.#counts[node] === 0) {
      while (node > 1 && node % 2 === 1) node >>>= 1;
      if (node <= 1) return null;
      ++node;
    }
    while (node < this.#leaves) node = this.#counts[2 * node]! > 0 ? 2 * node : 2 * node + 1;
    const room = node - this.#leaves;
    const bin = this.#bins.get(room)!.pop()!;
    this.#count(room, -1);
    return bin;
  }

  #count(room: number, change: number): void {
    for (let node = room + this.#leaves; node >= 1; node >>>= 1) this.#counts[node]! += change;
  }
}

/** A micro-batch as the model takes it: T tokens of B documents. */
export interface PackedBatch {
  /** i32 [T]. */
  readonly tokens: Int32Array;
  /** i32 [T], −1 where nothing is trained. */
  readonly targets: Int32Array;
  /** i32 [T], from 0 in each document. */
  readonly positions: Int32Array;
  /** i32 [B + 1]: where each document begins, then T. */
  readonly cuSeqlens: Int32Array;
}

/** Lays documents one after another. */
export function assembleBatch(documents: readonly Pick<TrainingDocument, 'tokens' | 'targets'>[]): PackedBatch {
  const total = documents.reduce((sum, document) => sum + document.tokens.length, 0);
  const tokens = new Int32Array(total);
  const targets = new Int32Array(total);
  const positions = new Int32Array(total);
  const cuSeqlens = new Int32Array(documents.length + 1);
  let offset = 0;
  for (const [index, document] of documents.entries()) {
    tokens.set(document.tokens, offset);
    targets.set(document.targets, offset);
    for (let position = 0; position < document.tokens.length; ++position) positions[offset + position] = position;
    offset += document.tokens.length;
    cuSeqlens[index + 1] = offset;
  }
  return { tokens, targets, positions, cuSeqlens };
}

/** The packs that go through the model together. */
export interface MicroBatch {
  readonly packs: readonly Pack[];
  readonly tokens: number;
}

/** What one optimizer step trains on, on all ranks together. */
export interface Window {
  readonly microBatches: readonly MicroBatch[];
  readonly tokens: number;
  /** N of the loss: known before the first micro-batch runs. */
  readonly trained: number;
}

/** Cuts an epoch's packs into windows of `gradientAccumulation` micro-batches of `microBatch` packs; the last may be shorter. */
export function planWindows(packs: readonly Pack[], microBatch: number, gradientAccumulation: number): Window[] {
  const windows: Window[] = [];
  const windowPacks = microBatch * gradientAccumulation;
  for (let first = 0; first < packs.length; first += windowPacks) {
    const microBatches: MicroBatch[] = [];
    let windowTokens = 0;
    let trained = 0;
    for (let start = first; start < Math.min(first + windowPacks, packs.length); start += microBatch) {
      const chosen = packs.slice(start, Math.min(start + microBatch, first + windowPacks));
      const tokens = chosen.reduce((sum, pack) => sum + pack.tokens, 0);
      microBatches.push({ packs: chosen, tokens });
      windowTokens += tokens;
      trained += chosen.reduce((sum, pack) => sum + pack.trained, 0);
    }
    windows.push({ microBatches, tokens: windowTokens, trained });
  }
  return windows;
}
