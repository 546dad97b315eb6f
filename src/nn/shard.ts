/**
 * How a model's weights are cut over the ranks of a tensor-parallel group (Shoeybi et al. 2019, "Megatron-LM"). A model file says
 * it once for every weight; who gets which part follows from that, here and nowhere else.
 */
import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import type { QuantisedWeight } from '../ops/quantised.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * `column`: along the outputs of a layer, its bias with them. `row`: along the inputs; the layer's partial results are summed.
 * `vocabulary`: along the rows of embeddings or head, as evenly as they go.
 */
export type Shard =
  | {
      readonly kind: 'column' | 'row';
      /** Pieces that stay whole, such as heads. */
      readonly units: number;
      /** What these are, for messages: `attention heads`. */
      readonly of: string;
      /** Whether several ranks may hold the same unit where there are more ranks than units. */
      readonly shared?: boolean;
    }
  | { readonly kind: 'vocabulary' };

/** A weight as the checkpoint has it. `shard` null: every rank holds all of it. */
export interface WeightSpec {
  readonly shape: readonly number[];
  readonly shard: Shard | null;
}

/** What one rank holds of a tensor: `length` indices of `axis` from `start`, and all of the other axes. */
export interface Part {
  readonly kind: Shard['kind'] | null;
  /** Of the whole tensor. */
  readonly whole: readonly number[];
  readonly axis: number;
  readonly start: number;
  readonly length: number;
  /** Ranks that hold this very part. */
  readonly holders: number;
  /** Which of them this rank is: the first is 0. */
  readonly holder: number;
  /** Whether each holder finds but a share of the gradient, to be summed over them. Otherwise all of them find the same. */
  readonly partial: boolean;
}

/** A model's weights as one rank has them, by their names in the checkpoint. */
export interface ModelWeights {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly parts: ReadonlyMap<string, Part>;
  /** Weights of linear layers that stay as the checkpoint stores them, by the names that they would have in `tensors`. */
  readonly quantised?: ReadonlyMap<string, QuantisedWeight>;
  /** Ranks that hold the model together; null: this one alone. */
  readonly group: Communicator | null;
}

/** A place in a tensor-parallel group. */
export interface Place {
  readonly rank: number;
  readonly size: number;
}

/** The shape of a part. */
export function partShape({ whole, axis, length }: Part): number[] {
  return whole.map((size, index) => (index === axis ? length : size));
}

/** Where a part begins in the whole, by axis. */
export function partStart({ whole, axis, start }: Part): number[] {
  return whole.map((_, index) => (index === axis ? start : 0));
}

/** @throws UserError where the units cannot be shared out evenly. */
export function partOf({ shape, shard }: WeightSpec, place: Place): Part {
  const { rank, size } = place;
  if (shard === null) return replicated(shape, place, false);
  const alone = { kind: shard.kind, whole: shape, holders: 1, holder: 0, partial: false };
  if (shard.kind === 'vocabulary') {
    const rows = shape[0]!;
    if (rows < size)
      throw new UserError(`Expected 'tp' to be at most the model's vocabulary of ${rows} tokens but received ${size}`);
    const [start, end] = [rank, rank + 1].map((each) => Math.floor((each * rows) / size)) as [number, number];
    return { ...alone, axis: 0, start, length: end - start };
  }
  const { units, of, kind, shared = false } = shard;
  const axis = kind === 'row' ? 1 : 0;
  const unit = shape[axis]! / units;
  if (units % size === 0) {
    const length = shape[axis]! / size;
    return { ...alone, axis, start: rank * length, length };
  }
  const holders = size / units;
  if (!shared || !Number.isInteger(holders))
    throw new UserError(
      `Expected 'tp' to divide the model's ${units} ${of}${shared ? ', or to be a multiple of it,' : ''} but received ${size}`,
    );
  const start = Math.floor(rank / holders) * unit;
  return { ...alone, axis, start, length: unit, holders, holder: rank % holders, partial: true };
}

/** All of a tensor, on every rank. */
export function replicated(whole: readonly number[], { rank, size }: Place, partial: boolean): Part {
  return { kind: null, whole, axis: 0, start: 0, length: whole[0]!, holders: size, holder: rank, partial };
}

/**
 * What a rank that holds `part` of a linear layer's weight holds of its adapter's A [rank, inputs] and B [outputs, rank]: the half that
 * lies on the side of the cut is cut with the weight. The other one is whole on every rank, and each finds the share of its gradient that
 * its part of the layer has.
 */
export function adapterParts(part: Part, rank: number, place: Place): { a: Part; b: Part } {
  const [outputs, inputs] = part.whole as [number, number];
  const [wholeA, wholeB] = [
    [rank, inputs],
    [outputs, rank],
  ] as const;
  const { kind } = part;
  return {
    a: kind === 'row' ? { ...part, whole: wholeA } : replicated(wholeA, place, kind !== null),
    b: kind === 'column' ? { ...part, whole: wholeB } : replicated(wholeB, place, kind !== null),
  };
}

/** What each rank of a group has of a tensor of which one of them has `part`. */
export function rangesOf(
  { kind, whole, axis, length, holders }: Part,
  size: number,
): { start: number; length: number }[] {
  return Array.from({ length: size }, (_, rank) => {
    if (kind !== 'vocabulary') return { start: holders === size ? 0 : Math.floor(rank / holders) * length, length };
    const start = Math.floor((rank * whole[axis]!) / size);
    return { start, length: Math.floor(((rank + 1) * whole[axis]!) / size) - start };
  });
}

/** A rank's part of the elements of a tensor, row after row. */
export function takePart<A extends Float32Array | Uint8Array>(values: A, { whole, axis, start, length }: Part): A {
  const columns = whole.slice(1).reduce((product, each) => product * each, 1);
  if (axis === 0) return values.subarray(start * columns, (start + length) * columns) as A;
  const part = values.slice(0, whole[0]! * length) as A;
  for (let row = 0; row < whole[0]!; row += 1)
    part.set(values.subarray(row * columns + start, row * columns + start + length), row * length);
  return part;
}

/** Every weight's part. @throws UserError where the group has a size that the model cannot be cut into. */
export function partsOf(weights: ReadonlyMap<string, WeightSpec>, place: Place): Map<string, Part> {
  return new Map([...weights].map(([name, spec]) => [name, partOf(spec, place)]));
}
