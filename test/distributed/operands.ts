import { roundToBf16 } from '../ops/harness/data.js';

/** What rank `rank` brings to the collectives of a round: numbers whose sum depends on the order. */
export function operand(rank: number, round: number, length: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => Math.fround((rank + 1) * 0.1 + index + round));
}

/** What the collectives of one round give rank `rank`: sums in f32 in rank order, rounded once. */
export function expectedRound(rank: number, size: number, round: number, length: number, bf16: boolean): number[][] {
  const stored = bf16 ? roundToBf16 : Math.fround;
  const values = (of: number, count: number) => Array.from(operand(of, round, count), stored);
  const sum = (count: number) => {
    const operands = Array.from({ length: size }, (_, other) => values(other, count));
    return Array.from({ length: count }, (_, index) =>
      stored(operands.slice(1).reduce((total, own) => Math.fround(total + own[index]!), operands[0]![index]!)),
    );
  };
  const ranks = Array.from({ length: size }, (_, index) => index);
  return [
    sum(length),
    ranks.flatMap((other) => values(other, length)),
    sum(length * size).slice(rank * length, (rank + 1) * length),
    values(round % size, length),
  ];
}
