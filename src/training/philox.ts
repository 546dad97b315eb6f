// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), on the host: a random number is a
// pure function of (seed, purpose, step, index), so resuming, re-packing and sharding agree without any generator state.

const kRounds = 10;

/** What a random number is for; numbers of different purposes are independent of each other. */
export const Purpose = { shuffle: 0x53_48_55_46, loraInit: 0x4c_4f_52_41 } as const;

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
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  return philox4x32([Math.floor(index / 4) >>> 0, 0, step >>> 0, purpose >>> 0], key)[index & 3]!;
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
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const;
  for (let block = 0; block * 4 < count; ++block) {
    const words = philox4x32([block >>> 0, 0, step >>> 0, purpose >>> 0], key);
    for (let lane = 0; lane < 4 && block * 4 + lane < count; ++lane) {
      // 24 bits: every value is exact in f32 and below 1.
      values[block * 4 + lane] = low + (words[lane]! >>> 8) * 2 ** -24 * (high - low);
    }
  }
  return values;
}

/** A permutation of 0 … count−1 (Fisher–Yates), a function of its arguments alone. */
export function permutation(count: number, seed: number, step: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, index) => index);
  for (let last = count - 1; last > 0; --last) {
    const chosen = Math.floor((randomWord(seed, Purpose.shuffle, step, last) / 2 ** 32) * (last + 1));
    const held = order[last]!;
    order[last] = order[chosen]!;
    order[chosen] = held;
  }
  return order;
}
