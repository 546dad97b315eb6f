/**
 * What computes across the ranks of a tensor-parallel group (Shoeybi et al. 2019, "Megatron-LM"). Outside of sharded layers every
 * rank holds the same activations, and the same gradients of them, bit for bit. A group of null is one rank: nothing happens.
 */
import type { Communicator } from '../distributed/communicator.js';
import { launch } from '../tensor/launch.js';
import { type BackwardContext, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** A rank's rows [first, first + rows) of embeddings or head. */
export interface VocabularyShard {
  readonly group: Communicator;
  readonly first: number;
  /** Rows of all ranks together. Rank r of N has those from ⌊r · vocabulary / N⌋ on. */
  readonly vocabulary: number;
}

const shards = new WeakMap<Tensor, VocabularyShard>();

/**
 * Marks a weight as a part of the vocabulary. Looking up rows, logits and log-probabilities then are those of the whole, in every
 * objective too.
 */
export function shardVocabulary(weight: Tensor, shard: VocabularyShard): void {
  shards.set(weight, shard);
}

export function vocabularyShard(weight: Tensor): VocabularyShard | null {
  return shards.get(weight) ?? null;
}

/** Where column-parallel layers begin: x itself; its gradient is the sum of what the ranks' layers give. */
export function copyToGroup(x: Tensor, group: Communicator | null): Tensor {
  if (group === null) return x;
  const y = x.reshape(x.shape);
  const backward = (context: BackwardContext) => {
    const gradient = context.gradient();
    const sum = gradient.like();
    launch('copy', [gradient, sum]);
    group.allReduce(sum);
    context.add(0, sum);
  };
  // Recomputed with x where that is: a view holds no memory of its own.
  record('copyToGroup', [x], [y], [x], backward, ([savedX]) => savedX!.reshape(savedX!.shape));
  return y;
}

/** Where row-parallel layers end: the sum of every rank's x, in x's own memory. */
export function reduceFromGroup(x: Tensor, group: Communicator | null): Tensor {
  if (group === null) return x;
  const y = x.reshape(x.shape);
  group.allReduce(y);
  record('reduceFromGroup', [x], [y], [], (context) => context.add(0, context.gradient()));
  return y;
}

/** Ids of a whole vocabulary as the rank knows its rows: −1 stays, −2 is a row of another rank. */
export function localIds(ids: Tensor, weight: Tensor, { first, vocabulary }: VocabularyShard): Tensor {
  const local = ids.like();
  launch('local_ids', [ids, local], [first, weight.shape[0]!, vocabulary]);
  return local;
}

/** Columns that the ranks hold, [R, rows of the rank] each, as one [R, vocabulary] on every rank, in order. */
export function gatherColumns(x: Tensor, { group, first, vocabulary }: VocabularyShard): Tensor {
  const [rows, columns] = x.shape as [number, number];
  // Ranks may differ by one column; what they exchange has one shape.
  const widest = Math.ceil(vocabulary / group.size);
  using mine = Tensor.empty(x.device, [rows, widest], x.dtype);
  using part = mine.narrow(1, 0, columns);
  launch('copy', [x, part]);
  if (columns < widest) {
    using rest = mine.narrow(1, columns, widest - columns);
    launch('fill', [rest], [0]);
  }
  using gathered = group.allGather(mine);
  const y = Tensor.empty(x.device, [rows, vocabulary], x.dtype);
  for (let rank = 0; rank < group.size; rank += 1) {
    const [start, end] = [rank, rank + 1].map((each) => Math.floor((each * vocabulary) / group.size)) as [
      number,
      number,
    ];
    using block = gathered.narrow(0, rank * rows, rows);
    using from = block.narrow(1, 0, end - start);
    using to = y.narrow(1, start, end - start);
    launch('copy', [from, to]);
  }
  record('gatherColumns', [x], [y], [], (context) => {
    using own = context.gradient().narrow(1, first, columns);
    const dx = x.like();
    launch('copy', [own, dx]);
    context.add(0, dx);
  });
  return y;
}
