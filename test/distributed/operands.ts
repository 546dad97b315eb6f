/** What rank `rank` brings to the collectives of a round: numbers whose sum depends on the order. */
export function operand(rank: number, round: number, length: number): Float32Array {
  return Float32Array.from({ length }, (_, index) => Math.fround((rank + 1) * 0.1 + index + round));
}
