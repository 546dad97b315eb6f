import { hash } from 'node:crypto';

/** A 64-bit Philox seed as two signed 32-bit words. */
export type Seed = readonly [low: number, high: number];

/**
 * The seed of one sample. It depends on who asks and not on when, so that batching, arrival order and preemption do not matter:
 * on `seed` and `index` where the request sets a seed, else on the engine's seed, the request's id and `index`.
 */
export function sampleSeed(engineSeed: number, requestId: string, seed: number | null, index: number): Seed {
  const identity = seed === null ? ['id', engineSeed, requestId, index] : ['seed', seed, index];
  const digest = Buffer.from(hash('sha256', JSON.stringify(identity)), 'hex');
  return [digest.readInt32LE(0), digest.readInt32LE(4)];
}
