/** What a launcher tells each process of a run, by the names that torchrun, Slurm scripts and MPI wrappers use. Read here alone. */
import { UserError } from '../errors.js';

export interface ProcessEnvironment {
  /** Which process this is, from 0. */
  readonly rank: number;
  /** Processes of the run. */
  readonly size: number;
  /** Which process of its machine this is: the devices before its own belong to the processes before it. */
  readonly localRank: number;
  /** Where process 0 is reached. */
  readonly address: string;
  readonly port: number;
  /** How long the processes wait for each other at the start. */
  readonly timeoutSeconds: number;
}

/**
 * RANK, WORLD_SIZE (processes, not devices), LOCAL_RANK (default 0), MASTER_ADDR (default 127.0.0.1), MASTER_PORT (default 29500) and
 * RENDEZVOUS_SECONDS (default 300).
 * @returns null where there is no WORLD_SIZE, or one process
 * @throws {UserError} naming the variable
 */
export function readProcessEnvironment(environment: NodeJS.ProcessEnv = process.env): ProcessEnvironment | null {
  const integer = (name: string, least: number, most: number, fallback?: number): number => {
    const text = environment[name] ?? '';
    if (text === '' && fallback !== undefined) return fallback;
    const value = Number(text);
    if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
    throw new UserError(
      `Expected the environment variable ${name} to be an integer from ${least} to ${most} but received '${text}'; the launcher sets it for every process`,
    );
  };
  const size = integer('WORLD_SIZE', 1, 100_000, 1);
  if (size === 1) return null;
  return {
    rank: integer('RANK', 0, size - 1),
    size,
    localRank: integer('LOCAL_RANK', 0, size - 1, 0),
    address: environment.MASTER_ADDR || '127.0.0.1',
    port: integer('MASTER_PORT', 1, 65_535, 29_500),
    timeoutSeconds: integer('RENDEZVOUS_SECONDS', 1, 1_000_000, 300),
  };
}
