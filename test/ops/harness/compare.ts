/** Comparison with the f64 reference under a bound that follows from the number of roundings. */
import type { DType, TensorData } from '../../../src/tensor/dtype.js';
import type { OpCase, OpCases, Reference, References, Roundings } from './types.js';

/** Unit roundoff: half the distance between 1 and the next number. */
const unit = { f32: 2 ** -24, bf16: 2 ** -8 };
/** Differences below this come from the range of f32, not from roundings. */
const smallest = 2 ** -126;

/** The arguments as the reference wants them, and what it makes of them. */
export function expectedOf(
  cases: OpCases,
  { tensors }: Pick<OpCase, 'tensors'>,
  attributes: Record<string, number>,
): References {
  const references: References = {};
  for (const [name, spec] of Object.entries(tensors)) {
    const data = spec.data
      ? Float64Array.from(spec.data)
      : new Float64Array(spec.shape.reduce((n, size) => n * size, 1)).fill(Number.NaN);
    references[name] = { shape: spec.shape, dtype: spec.dtype, data };
  }
  cases.reference(references, attributes);
  return references;
}

function boundOf(dtype: DType, expected: Reference, index: number, roundings: Roundings): number {
  if (dtype !== 'f32' && dtype !== 'bf16') return 0;
  const magnitude = Math.max(Math.abs(expected.data[index]!), expected.magnitude?.[index] ?? 0);
  const bf16 = roundings.bf16 ?? (dtype === 'bf16' ? 1 : 0);
  return (roundings.f32 * unit.f32 + bf16 * unit.bf16) * magnitude + smallest;
}

/** The first few differences beyond the bound, in words; empty when all is well. NaN must be where NaN is expected. */
export function differences(actual: TensorData, expected: Reference, roundings: Roundings): string[] {
  const found: string[] = [];
  for (let index = 0; index < expected.data.length && found.length < 5; index += 1) {
    const want = expected.data[index]!;
    const got = actual[index]!;
    if (Object.is(want, got) || want === got || (Number.isNaN(want) && Number.isNaN(got))) continue;
    const bound = boundOf(expected.dtype, expected, index, roundings);
    if (Math.abs(got - want) <= bound) continue;
    found.push(
      `element ${index} of [${expected.shape.join(', ')}]: expected ${want} ± ${bound.toExponential(1)} but received ${got}`,
    );
  }
  return found;
}
