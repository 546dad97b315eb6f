import { native } from '../native.js';
import type { Device } from '../tensor/device.js';
import { launch } from '../tensor/launch.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * One rank's place in a group of devices that compute together. On the CPU the ranks are worker threads of one process and the
 * group is found by its name; every rank enqueues the same collectives in the same order.
 */
export class Communicator {
  readonly rank: number;
  readonly size: number;
  readonly #number: number;

  /**
   * @param name unique to the group and its run.
   * @throws when the rank is taken or another size was agreed on.
   */
  constructor(device: Device, name: string, rank: number, size: number) {
    this.#number = native.joinCommunicator(device.id, name, rank, size);
    this.rank = rank;
    this.size = size;
  }

  /**
   * Replaces f32 `tensor` by its sum over all ranks, the same bits on each. The stream waits for the others, JavaScript does
   * not. A rank that has gone poisons the tensor.
   */
  allReduce(tensor: Tensor): void {
    launch('all_reduce', [tensor], [this.#number]);
  }
}
