// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), on the host: a random number is a
// pure function of (seed, purpose, step, index), so resuming, re-packing and sharding agree without any generator state.

import { Pauses } from './pauses.js';

const kRounds = 10;

/** What a random number is for; numbers of different purposes are independent of each other. */
export const Purpose = { shuffle: 0x53_48_55_46, loraInit: 0x4c_4f_52_41, validation: 0x56_41_4c_49 } as const;

/** The ten-round Philox block: counter (4 words) and key (2 words) to four uniform 32-bit words. */
export function philox4x32(
  counter: readonly [number, number, number, number],
  key: readonly [number, number],
): [number, number, number, number] {
  let [a, b, c, d] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < kRounds; ++round) {
    const high0 = multiplyHigh(0xd2511f53, a);
    const low0 = Math.imul(0xd2511f53, a) >>> 0;
    const high1 = multiplyHigh(0xcd9e8d57, c);
    const low1 = Math.imul(0xcd9e8d57, c) >>> 0;
    [a, b, c, d] = [(high1 ^ b ^ k0) >>> 0, low1, (high0 ^ d ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

/** The upper 32 bits of a 32×32-bit product. */
function multiplyHigh(x: number, y: number): number {
  const xLow = x & 0xffff;
  const xHigh = x >>> 16;
  const yLow = y & 0xffff;
  const yHigh = y >>> 16;
  const middle = xHigh * yLow + ((xLow * yLow) >>> 16);
  const cross = xLow * yHigh + (middle & 0xffff);
  return (xHigh * yHigh + Math.floor(middle / 0x10000) + (cross >>> 16)) >>> 0;
}

/** A uniform 32-bit word: number `index` of the stream (seed, purpose, step). `seed` below 2^53, `index` below 2^34. */
export function randomWord(seed: number, purpose: number, step: number, index: number): number {
  return blockOf(keyOf(seed), purpose, step, Math.floor(index / 4))[index & 3]!;
}

function keyOf(seed: number): [number, number] {
  return [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
}

/** Words 4 · block to 4 · block + 3 of a stream. */
function blockOf(key: readonly [number, number], purpose: number, step: number, block: number) {
  return philox4x32([block >>> 0, 0, step >>> 0, purpose >>> 0], key);
}

/** `count` floats uniform in [low, high), in f32. */
export function uniform(
  seed: number,
  purpose: number,
  step: number,
  count: number,
  low: number,
  high: number,
): Float32Array {
  const values = new Float32Array(count);
  const key = keyOf(seed);
  for (let block = 0; block * 4 < count; ++block) {
    const words = blockOf(key, purpose, step, block);
    for (let lane = 0; lane < 4 && block * 4 + lane < count; ++lane) {
      // 24 bits: every value is exact in f32 and below 1.
      values[block * 4 + lane] = low + (words[lane]! >>> 8) * 2 ** -24 * (high - low);
    }
  }
  return values;
}

/**
 * A permutation of 0 … count−1 (Fisher–Yates), a function of the numbers it is given.
 * @param pauses when the event loop shall turn meanwhile
 */
export async function permutation(
  count: number,
  seed: number,
  step: number,
  pauses: Pauses = new Pauses(),
): Promise<Uint32Array> {
  const order = new Uint32Array(count);
  for (let index = 0; index < count; ++index) order[index] = index;
  const key = keyOf(seed);
  for (let last = count - 1; last > 0; ) {
    const words = blockOf(key, Purpose.shuffle, step, last >>> 2);
    for (let lane = last & 3; lane >= 0 && last > 0; --lane, --last) {
      const chosen = Math.floor((words[lane]! / 2 ** 32) * (last + 1));
      const held = order[last]!;
      order[last] = order[chosen]!;
      order[chosen] = held;
    }
    if (last % 4096 < 4 && pauses.due()) await pauses.turn();
  }
  return order;
}
