import { UserError } from '../errors.js';
import type { Device } from '../tensor/device.js';
import { Communicator, type CommunicatorOptions } from './communicator.js';
import { type MeshShape, meshSize } from './mesh_shape.js';

export interface MeshPlace extends CommunicatorOptions {
  /** Name of the run's groups, the same on all ranks and used once. */
  group: string;
  /** World rank, from 0. */
  rank: number;
  shape: MeshShape;
}

/**
 * A rank's place among all ranks of a run: groups to compute with, one for each dimension. World rank r has the tensor-parallel
 * index r % tp and the data-parallel index ⌊r / tp⌋.
 */
export class Mesh {
  readonly device: Device;
  readonly rank: number;
  readonly shape: MeshShape;
  /** Place among the ranks that share one model. */
  readonly tpRank: number;
  /** Place among the ranks that hold the same part of a model. */
  readonly dpRank: number;
  /** The ranks with this tensor-parallel index; null: there is only one. */
  readonly dp: Communicator | null;
  /** The ranks that share this rank's model; null: there is only one. */
  readonly tp: Communicator | null;
  readonly #join: (name: string, members: readonly number[]) => Communicator | null;
  #world: Communicator | null = null;

  /** @throws {UserError} when the rank is not one of the mesh. */
  constructor(device: Device, { group, rank, shape, processOf = [], ...options }: MeshPlace) {
    const size = meshSize(shape);
    if (!Number.isInteger(rank) || rank < 0 || rank >= size)
      throw new UserError(`Expected a rank of dp=${shape.dp},tp=${shape.tp}, 0 to ${size - 1}, but received ${rank}`);
    this.device = device;
    this.rank = rank;
    this.shape = shape;
    this.tpRank = rank % shape.tp;
    this.dpRank = Math.floor(rank / shape.tp);
    this.#join = (name, members) => {
      if (members.length === 1) return null;
      const processes = processOf.filter((_, member) => members.includes(member));
      const place = { ...options, processOf: processes };
      return new Communicator(device, `${group}-${name}`, members.indexOf(rank), members.length, place);
    };
    this.tp = this.#join(
      `tp${this.dpRank}`,
      this.#ranks((other) => Math.floor(other / shape.tp) === this.dpRank),
    );
    this.dp = this.#join(
      `dp${this.tpRank}`,
      this.#ranks((other) => other % shape.tp === this.tpRank),
    );
  }

  /** All ranks; null: there is only one. A group of its own from the first time that it is asked for, but for a mesh of one dimension. */
  get world(): Communicator | null {
    if (this.shape.tp === 1) return this.dp;
    if (this.shape.dp === 1) return this.tp;
    this.#world ??= this.#join(
      'world',
      this.#ranks(() => true),
    );
    return this.#world;
  }

  /**
   * Brings the ranks of each group together, one group after the other, while nothing else runs: NCCL takes memory for it, which waits
   * for what a GPU is at, and that may be a collective of another group.
   */
  async join(): Promise<void> {
    for (const communicator of [this.tp, this.dp]) await communicator?.join();
  }

  #ranks(isMember: (rank: number) => boolean): number[] {
    return Array.from({ length: meshSize(this.shape) }, (_, rank) => rank).filter(isMember);
  }

  /** Leaves the groups: what other ranks still wait for there fails. Closing the device does the same. */
  dispose(): void {
    for (const communicator of [this.tp, this.dp, this.#world]) communicator?.leave();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}
