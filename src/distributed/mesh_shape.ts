/** How many devices work together, and at what: `mesh: { dp, tp }` in YAML, `--mesh dp=2,tp=2` on the command line. */
import { z } from 'zod';
import { UserError } from '../errors.js';

/**
 * World rank r of dp · tp has the tensor-parallel index r % tp and the data-parallel index ⌊r / tp⌋, so that the ranks that share a
 * model are neighbours.
 */
export interface MeshShape {
  /** Data parallel: whole models, each with its share of the data. */
  readonly dp: number;
  /** Tensor parallel: devices that share one model. */
  readonly tp: number;
}

const size = z.number().int().min(1).default(1);

export const meshSchema = z.strictObject({
  /** Replicas of the model. Default: 1. */
  dp: size,
  /** Devices that one replica is spread over. Default: 1. */
  tp: size,
});

/** `dp=2,tp=4`; what is left out is 1. @throws {UserError} */
export function parseMesh(text: string): MeshShape {
  const pairs = text.split(',').map((part) => /^\s*(dp|tp)\s*=\s*([1-9]\d{0,5})\s*$/.exec(part));
  const names = pairs.map((pair) => pair?.[1]);
  if (names.includes(undefined) || new Set(names).size < names.length)
    throw new UserError(`Expected a mesh such as dp=2, tp=4 or dp=2,tp=4 but received '${text}'`);
  return { dp: 1, tp: 1, ...Object.fromEntries(pairs.map((pair) => [pair![1], Number(pair![2])])) };
}

export function meshSize({ dp, tp }: MeshShape): number {
  return dp * tp;
}

/** The device of a process's `index`-th rank, where the first one's is `first`: GPUs follow one another, the CPU is shared. */
export function rankDevice(first: string, index: number): string {
  const [, kind, number] = /^(cuda(?:-emulated)?)(?::(\d+))?$/.exec(first) ?? [];
  if (kind === undefined || first === 'cuda-emulated') return first; // of which there is one
  return `${kind}:${Number(number ?? 0) + index}`;
}

/** CPU threads of each of `ranks` on one machine: an equal share of `threads`, at least one. */
export function rankThreads(threads: number, ranks: number): number {
  return Math.max(1, Math.floor(threads / ranks));
}
