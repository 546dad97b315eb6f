import type { Communicator } from '../distributed/communicator.js';
import { launch } from '../tensor/launch.js';
import { scope, withoutScope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** Shards end where blocks of 8-bit moments do, so that a block is whole on one rank. */
const alignment = 256;

/** Elements of each rank's part of a tensor of `size`: equal for all; what lies beyond the tensor's end is zero. */
export function shardLength(size: number, ranks: number): number {
  return alignment * Math.ceil(size / (alignment * ranks));
}

/** The elements of a tensor of `size` that a rank's part holds. */
export function shardRange(size: number, { rank, size: ranks }: Communicator): { first: number; count: number } {
  const length = shardLength(size, ranks);
  const first = Math.min(rank * length, size);
  return { first, count: Math.min(length, size - first) };
}

/** This rank's part of `whole`, read row after row: [{@link shardLength}] of its dtype, the caller's to dispose. */
export function shardOf(whole: Tensor, communicator: Communicator): Tensor {
  const shard = Tensor.zeros(whole.device, [shardLength(whole.size, communicator.size)], whole.dtype);
  const { first, count } = shardRange(whole.size, communicator);
  scope(() => launch('copy', [whole.reshape([whole.size]).narrow(0, first, count), shard.narrow(0, 0, count)]));
  return shard;
}

/** A tensor of which every rank keeps a part. The whole is there only between {@link gather} and {@link release}. */
export class ShardedTensor {
  /** The model's; its gradient lives from the backward pass to {@link reduceGradient}. */
  readonly whole: Tensor;
  /** This rank's part, what is trained: its `grad` is this rank's part of the summed gradient. */
  readonly shard: Tensor;
  readonly #communicator: Communicator;

  /** Takes `whole` apart: every rank has to hold the same. It keeps its shape and its place in the model, but not its memory. */
  constructor(whole: Tensor, communicator: Communicator) {
    this.whole = whole;
    this.#communicator = communicator;
    this.shard = shardOf(whole, communicator);
    whole.evict();
  }

  /** Index of the shard's first element in the whole. */
  get first(): number {
    return this.#communicator.rank * this.shard.size;
  }

  /** Collective. Gives the whole its memory and its contents, if it has none. */
  gather(): void {
    if (!this.whole.evicted) return;
    const elements = this.shard.size * this.#communicator.size;
    this.whole.restore(elements, (memory) => void this.#communicator.allGather(this.shard, memory));
  }

  release(): void {
    this.whole.evict();
  }

  /** Collective. The whole for as long as `use` takes. */
  async gathered<R>(use: () => Promise<R>): Promise<R> {
    this.gather();
    try {
      return await use();
    } finally {
      this.release();
    }
  }

  /**
   * Collective. Gives the whole's gradient back, whose sum over all ranks goes to {@link addGradient}: later, for that waits for the ranks.
   * @param counts whether this rank's is part of the sum; a rank without a gradient adds nothing either
   * @returns this rank's part of the sum, the caller's to dispose
   */
  reduceGradient(counts: boolean): Tensor {
    using padded = this.#padded(counts ? this.whole.grad : null);
    this.whole.grad?.dispose();
    this.whole.grad = null;
    return withoutScope(() => this.#communicator.reduceScatter(padded));
  }

  /** Adds a sum of gradients to the shard's. */
  addGradient(sum: Tensor): void {
    launch('add', [this.shard.grad!, sum, this.shard.grad!], [1]);
  }

  /** f32, as long as all shards together. */
  #padded(gradient: Tensor | null): Tensor {
    const { size, device } = this.whole;
    const length = this.shard.size * this.#communicator.size;
    if (gradient !== null && length === size) return gradient.reshape([size]);
    const padded = Tensor.zeros(device, [length]);
    if (gradient !== null) scope(() => launch('copy', [gradient.reshape([size]), padded.narrow(0, 0, size)]));
    return padded;
  }

  dispose(): void {
    this.shard.grad?.dispose();
    this.shard.dispose();
  }
}
