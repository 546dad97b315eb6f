/** fp8 e4m3 by its definition: sign, 4 bits of exponent with bias 7, 3 of mantissa; the last code is NaN. */

/** The number behind each of the 256 codes. */
export const fp8Numbers = Float64Array.from({ length: 256 }, (_, bits) => {
  const [exponent, mantissa] = [(bits >> 3) & 15, bits & 7];
  if (exponent === 15 && mantissa === 7) return Number.NaN;
  const magnitude = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
  return bits < 128 ? magnitude : -magnitude;
});

/** The code of the nearest number, of the one with an even code where two are as near. */
export function nearestFp8(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 128 : 0;
  if (Number.isNaN(value)) return 127;
  let best = 0;
  for (let code = 1; code < 127; code += 1) {
    const [distance, least] = [code, best].map((each) => Math.abs(Math.min(Math.abs(value), 448) - fp8Numbers[each]!));
    if (distance! < least! || (distance === least && code % 2 === 0)) best = code;
  }
  return sign + best;
}
