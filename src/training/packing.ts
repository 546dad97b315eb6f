// Documents into packs: best-fit decreasing into bins of `sequenceLength` tokens. A pack goes through the model as one row
// of tokens; `cuSeqlens` and positions that restart at 0 keep its documents apart. Packing looks at lengths alone, in typed
// arrays, and lets the event loop turn, so that a million rows neither fill the memory nor freeze the process.

import type { Documents, TrainingDocument } from './documents.js';
import { Pauses } from './pauses.js';
import { permutation } from './philox.js';

/** Which documents share a bin, as indices into the documents that were packed. */
export interface Pack {
  readonly documents: Iterable<number>;
  readonly tokens: number;
  readonly trained: number;
}

/** Lists of numbers laid one after another: list i is `items` from `starts[i]` to `starts[i + 1]`. */
interface Lists {
  readonly items: Uint32Array;
  readonly starts: Uint32Array;
}

/** The packs of an epoch, in their order. */
export class PackingPlan {
  /** How many packs. */
  readonly count: number;
  readonly tokens: number;
  readonly trained: number;
  /** Tokens over the room of all bins, 0 … 1. */
  readonly efficiency: number;
  readonly #documents: Lists;
  readonly #tokens: Uint32Array;
  readonly #trained: Uint32Array;

  /** @param documents of each pack, which has so many `tokens` of which so many are `trained` */
  constructor(documents: Lists, tokens: Uint32Array, trained: Uint32Array, sequenceLength: number) {
    this.#documents = documents;
    this.#tokens = tokens;
    this.#trained = trained;
    this.count = tokens.length;
    this.tokens = tokens.reduce((sum, value) => sum + value, 0);
    this.trained = trained.reduce((sum, value) => sum + value, 0);
    this.efficiency = this.count === 0 ? 0 : this.tokens / (this.count * sequenceLength);
  }

  pack(index: number): Pack {
    const { items, starts } = this.#documents;
    const documents = items.subarray(starts[index]!, starts[index + 1]!);
    return { documents, tokens: this.#tokens[index]!, trained: this.#trained[index]! };
  }

  *packs(): Generator<Pack> {
    for (let index = 0; index < this.count; ++index) yield this.pack(index);
  }
}

/**
 * Packs documents into as few bins as best-fit decreasing finds: longest document first, each into the fullest bin that has
 * room. Documents of equal length come in an order decided by (seed, epoch), and so do the finished packs; the number of
 * packs depends on the lengths alone, so every epoch has as many steps.
 * @param sequenceLength tokens of a bin; every document must fit
 */
export async function packDocuments(
  { count, lengths, trained }: Pick<Documents, 'count' | 'lengths' | 'trained'>,
  sequenceLength: number,
  seed: number,
  epoch: number,
): Promise<PackingPlan> {
  const pauses = new Pauses();
  for (let index = 0; index < count; ++index) {
    const length = lengths[index]!;
    if (length < 1 || length > sequenceLength)
      throw new RangeError(
        `Expected 'documents[${index}]' to have 1 to ${sequenceLength} tokens but received ${length}`,
      );
  }
  await pauses.turn();
  const shuffled = await permutation(count, seed, 2 * epoch, pauses);
  const shortness = (index: number) => sequenceLength - lengths[index]!;
  const { items: longestFirst } = await groupBy(shuffled, shortness, sequenceLength, pauses);

  const binOf = new Uint32Array(count);
  const binTokens = new Uint32Array(count);
  const binTrained = new Uint32Array(count);
  const withRoom = new RoomIndex(sequenceLength, count);
  let bins = 0;
  for (let next = 0; next < count; ++next) {
    const index = longestFirst[next]!;
    const bin = withRoom.takeFullest(lengths[index]!) ?? bins++;
    binOf[index] = bin;
    binTokens[bin]! += lengths[index]!;
    binTrained[bin]! += trained[index]!;
    withRoom.add(bin, sequenceLength - binTokens[bin]!);
    if (next % 1024 === 0 && pauses.due()) await pauses.turn();
  }

  const order = await permutation(bins, seed, 2 * epoch + 1, pauses);
  const place = new Uint32Array(bins);
  for (let position = 0; position < bins; ++position) place[order[position]!] = position;
  const documents = await groupBy(longestFirst, (index) => place[binOf[index]!]!, bins, pauses);
  const inOrder = (values: Uint32Array) => order.map((bin) => values[bin]!);
  return new PackingPlan(documents, inOrder(binTokens), inOrder(binTrained), sequenceLength);
}

/** The numbers of `items` by their group, 0 to `groups` − 1; in a group they keep their order. */
async function groupBy(
  items: Uint32Array,
  groupOf: (item: number) => number,
  groups: number,
  pauses: Pauses,
): Promise<Lists> {
  const starts = new Uint32Array(groups + 1);
  for (let index = 0; index < items.length; ++index) {
    ++starts[groupOf(items[index]!) + 1]!;
    if (index % 1024 === 0 && pauses.due()) await pauses.turn();
  }
  for (let group = 0; group < groups; ++group) starts[group + 1]! += starts[group]!;
  const grouped = new Uint32Array(items.length);
  const next = starts.slice();
  for (let index = 0; index < items.length; ++index) {
    grouped[next[groupOf(items[index]!)]!++] = items[index]!;
    if (index % 1024 === 0 && pauses.due()) await pauses.turn();
  }
  return { items: grouped, starts };
}

const none = 0xffff_ffff;

/** Open bins by their room, with the smallest room that suffices found in O(log capacity): a tree of counts over rooms. */
class RoomIndex {
  readonly #leaves: number;
  readonly #counts: Uint32Array;
  /** The bin last added of each room, and of each bin the one added before it: stacks in two arrays. */
  readonly #top: Uint32Array;
  readonly #below: Uint32Array;

  constructor(capacity: number, bins: number) {
    this.#leaves = 2 ** Math.ceil(Math.log2(capacity + 1));
    this.#counts = new Uint32Array(2 * this.#leaves);
    this.#top = new Uint32Array(capacity + 1).fill(none);
    this.#below = new Uint32Array(bins);
  }

  add(bin: number, room: number): void {
    this.#below[bin] = this.#top[room]!;
    this.#top[room] = bin;
    this.#count(room, 1);
  }

  /** Removes and returns the last added of the bins with the least room ≥ `needed`, or null. */
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
    const bin = this.#top[room]!;
    this.#top[room] = this.#below[bin]!;
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
export function* planWindows(plan: PackingPlan, microBatch: number, gradientAccumulation: number): Generator<Window> {
  const windowPacks = microBatch * gradientAccumulation;
  for (let first = 0; first < plan.count; first += windowPacks) {
    const end = Math.min(first + windowPacks, plan.count);
    const microBatches: MicroBatch[] = [];
    let windowTokens = 0;
    let trained = 0;
    for (let start = first; start < end; start += microBatch) {
      const packs: Pack[] = [];
      for (let index = start; index < Math.min(start + microBatch, end); ++index) packs.push(plan.pack(index));
      const tokens = packs.reduce((sum, pack) => sum + pack.tokens, 0);
      microBatches.push({ packs, tokens });
      windowTokens += tokens;
      trained += packs.reduce((sum, pack) => sum + pack.trained, 0);
    }
    yield { microBatches, tokens: windowTokens, trained };
  }
}
