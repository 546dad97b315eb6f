/**
 * Reproducible random draws without generator state: each draw is a hash of what it is for, so any row can be
 * made again alone, in any order, on any machine.
 */
import { createHash } from 'node:crypto';

/** A 48-bit unsigned integer that depends on every part. */
export function hashToInteger(...parts: readonly (string | number)[]): number {
  return createHash('sha256').update(JSON.stringify(parts)).digest().readUIntBE(0, 6);
}

/** A source of draws; the n-th call depends on `parts` and n alone. */
export class Draws {
  readonly #parts: readonly (string | number)[];
  #count = 0;

  constructor(...parts: readonly (string | number)[]) {
    this.#parts = parts;
  }

  /** An integer in [low, high], both included. */
  integer(low: number, high: number): number {
    return low + (hashToInteger(...this.#parts, this.#count++) % (high - low + 1));
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error("Expected 'items' to hold at least one item but received none");
    return items[this.integer(0, items.length - 1)]!;
  }
}
