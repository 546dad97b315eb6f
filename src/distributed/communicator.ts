import { native } from '../native.js';
import type { Device } from '../tensor/device.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';

export interface CommunicatorOptions {
  /** How long a rank waits for the others at a collective before that fails; default: 600. */
  timeoutSeconds?: number;
  /** When a rank that waits tells on stderr which others have not come; default: 30. */
  warnAfterSeconds?: number;
  /** The process of each rank, by its number among those of the run; default: all ranks are of this process. */
  processOf?: readonly number[];
}

/**
 * One rank's place in a group of devices that compute together. Every rank enqueues the same collectives in the same order, with
 * tensors of the same dtype and size; a difference is an error on every rank. On the CPU the ranks are worker threads of one
 * process and the group is found by its name; on CUDA the data goes through NCCL.
 *
 * Collectives only enqueue: the stream waits for the other ranks, JavaScript does not. Tensors are contiguous. When a rank has gone
 * or does not come in time, what was to be computed is poisoned, and reading it rejects with the rank's number.
 */
export class Communicator {
  readonly device: Device;
  readonly rank: number;
  readonly size: number;
  readonly #number: number;

  /**
   * @param name unique to the group and its run.
   * @throws when the rank is taken, another size was agreed on, or a rank has left the group already.
   */
  constructor(device: Device, name: string, rank: number, size: number, options: CommunicatorOptions = {}) {
    const { timeoutSeconds = 600, warnAfterSeconds = 30, processOf = [] } = options;
    this.#number = native.joinCommunicator(device.id, name, rank, size, timeoutSeconds, warnAfterSeconds, processOf);
    this.device = device;
    this.rank = rank;
    this.size = size;
  }

  /** Replaces `x` (f32, bf16 or i32) by its sum over all ranks, the same bits on each. */
  allReduce(x: Tensor): void {
    launch('all_reduce', [x], [this.#number]);
  }

  /**
   * Every rank's `x` [n, …], of any dtype, one behind the other in rank order.
   * @param out [size · n, …], of which `x` may be this rank's part; default: a new tensor.
   * @returns out
   */
  allGather(x: Tensor, out: Tensor = this.#result(x, (n) => n * this.size)): Tensor {
    launch('all_gather', [x, out], [this.#number]);
    return out;
  }

  /**
   * This rank's part [n, …] of the sum over all ranks of `x` [size · n, …] (f32, bf16 or i32).
   * @param out [n, …], which may be this rank's part of `x`; default: a new tensor.
   * @returns out
   */
  reduceScatter(x: Tensor, out: Tensor = this.#result(x, (n) => Math.floor(n / this.size))): Tensor {
    launch('reduce_scatter', [x, out], [this.#number]);
    return out;
  }

  /** Replaces `x`, of any dtype, by that of rank `root`. */
  broadcast(x: Tensor, root: number): void {
    launch('broadcast', [x], [this.#number, root]);
  }

  /** Bytes that this rank has received from others; 0 on CUDA, where NCCL moves them. */
  get bytesReceived(): number {
    return native.communicatorBytes(this.device.id, this.#number);
  }

  /** Waits until all ranks have come. */
  async join(): Promise<void> {
    using one = Tensor.zeros(this.device, [1]);
    this.allReduce(one);
    await one.read();
  }

  /** Leaves the group: what others still wait for there fails. Closing the device does the same. */
  leave(): void {
    if (this.device.isOpen) native.leaveCommunicator(this.device.id, this.#number);
  }

  #result(x: Tensor, length: (n: number) => number): Tensor {
    const [n = 0, ...rest] = x.shape;
    return Tensor.empty(this.device, [length(n), ...rest], x.dtype);
  }
}

/** Whether a rank fails with this error because another one has left: the cause is an error of that other rank. */
export function isRankFailure(error: unknown): boolean {
  return error instanceof Error && error.message.includes(native.othersCannotGoOn);
}
