/**
 * What collectives cost, on paper: bytes over the slowest link of a ring (Patarasuk and Yuan 2009; Thakur et al. 2005; NCCL's "bus
 * bandwidth"). Latency is left out: it counts where messages are small, below about a megabyte.
 */
import { UserError } from '../errors.js';
import { type MeshShape, meshSize } from './mesh_shape.js';

export type CollectiveName = 'all-reduce' | 'all-gather' | 'reduce-scatter';

/** What the ranks of a group send one another in a step, in however many calls. */
export interface Exchange {
  readonly what: string;
  readonly collective: CollectiveName;
  readonly group: keyof MeshShape;
  /** Of the whole tensors: what is summed, or all ranks' parts together. */
  readonly bytes: number;
  /** The work that goes on meanwhile, in so many of the step's passes; null: all waits. */
  readonly beside: { readonly work: 'forward' | 'backward'; readonly passes: number } | null;
  /** Of `bytes`, what comes before that work begins or after it ends. */
  readonly uncovered: number;
}

/** Bytes a second that one device sends, in one direction: to others of its node, and to other nodes. */
export interface Links {
  readonly nvlink: number;
  readonly network: number;
}

/** NVLink 4 and one 400 Gb/s adapter for each GPU, as in a DGX H100 (its data sheet). */
export const defaultLinks: Links = { nvlink: 450e9, network: 50e9 };

/** Bytes that each of `ranks` sends, and receives, for a collective over tensors of `bytes` as a whole. */
export function sentBytes(collective: CollectiveName, ranks: number, bytes: number): number {
  return ((collective === 'all-reduce' ? 2 : 1) * (ranks - 1) * bytes) / ranks;
}

/**
 * The slowest link that a group's ring crosses. Ranks fill one node after the other, a tensor-parallel group's side by side.
 * @throws {UserError} when a tensor-parallel group would span nodes, which the engine does not do
 */
export function slowestLink(group: keyof MeshShape, shape: MeshShape, gpusPerNode: number): keyof Links {
  if (gpusPerNode % shape.tp !== 0)
    throw new UserError(
      `Expected 'tp' to divide the ${gpusPerNode} GPUs of a node but received ${shape.tp}; lower it, or say how many a node has with --gpus-per-node`,
    );
  return group === 'dp' && meshSize(shape) > gpusPerNode ? 'network' : 'nvlink';
}

/** One device's part of a step, in seconds without the others. */
export interface Compute {
  /** Micro-batches. */
  readonly passes: number;
  /** Of one of them. */
  readonly forward: number;
  readonly backward: number;
}

export interface StepEstimate {
  /** Bytes that a device sends in a step. */
  readonly sent: Readonly<Record<keyof MeshShape, number>>;
  /** Seconds that the exchanges take. */
  readonly exchanging: Readonly<Record<keyof MeshShape, number>>;
  readonly compute: number;
  /** Seconds of the exchanges that the device waits for them. */
  readonly waiting: number;
  /** Of the step. */
  readonly seconds: number;
}

/** A step's time: what goes on beside work of its own takes longer only where that is shorter. */
export function estimateStep(
  exchanges: readonly Exchange[],
  compute: Compute,
  shape: MeshShape,
  links: Links,
  gpusPerNode: number,
): StepEstimate {
  const sent = { dp: 0, tp: 0 };
  const exchanging = { dp: 0, tp: 0 };
  const beside = { forward: { exchange: 0, uncovered: 0, work: 0 }, backward: { exchange: 0, uncovered: 0, work: 0 } };
  let waiting = 0;
  for (const exchange of exchanges) {
    const { group, collective, bytes } = exchange;
    const own = sentBytes(collective, shape[group], bytes);
    const seconds = own / links[slowestLink(group, shape, gpusPerNode)];
    sent[group] += own;
    exchanging[group] += seconds;
    if (exchange.beside === null) waiting += seconds;
    else if (bytes > 0) {
      const { work, passes } = exchange.beside;
      const side = beside[work];
      side.exchange += seconds;
      side.uncovered += (seconds * exchange.uncovered) / bytes;
      side.work = Math.max(side.work, passes * compute[work]);
    }
  }
  for (const { exchange, uncovered, work } of Object.values(beside)) waiting += Math.max(exchange - work, uncovered);
  const whole = compute.passes * (compute.forward + compute.backward);
  return { sent, exchanging, compute: whole, waiting, seconds: whole + waiting };
}
