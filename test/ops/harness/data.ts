/** Makes arguments of cases: seeded values, rounded to their dtype. */
import type { DType } from '../../../src/tensor/dtype.js';
import type { TensorSpec } from './types.js';

export type Values = ArrayLike<number> | ((count: number) => ArrayLike<number>);
type Options = Pick<TensorSpec, 'view' | 'same'>;

export const elements = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);

/** The nearest bf16 number, ties to even. */
export function roundToBf16(value: number): number {
  const float = new Float32Array([value]);
  if (!Number.isFinite(float[0]!)) return float[0]!;
  const bits = new Uint32Array(float.buffer);
  bits[0] = ((bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000) >>> 0;
  return float[0]!;
}

export function roundTo(dtype: DType, value: number): number {
  if (dtype === 'f32') return Math.fround(value);
  if (dtype === 'bf16') return roundToBf16(value);
  return value;
}

/** A tensor that the operation reads. */
export function input(dtype: DType, shape: readonly number[], values: Values, options: Options = {}): TensorSpec {
  const data = Float64Array.from(typeof values === 'function' ? values(elements(shape)) : values, (x) =>
    roundTo(dtype, x),
  );
  if (data.length !== elements(shape))
    throw new Error(`Expected ${elements(shape)} values for [${shape.join(', ')}] but received ${data.length}`);
  return { dtype, shape, data, ...options };
}

/** The options of a tensor that a case may or may not narrow. */
export const narrowed = (view: TensorSpec['view'] | undefined): Options => (view ? { view } : {});

/** A tensor that the operation reads and changes. */
export const inout = input;

/** A tensor that the operation overwrites. */
export function output(dtype: DType, shape: readonly number[], options: Options = {}): TensorSpec {
  return { dtype, shape, data: null, ...options };
}

/** Uniform in [0, 1): the splitmix-like mulberry32. */
export function generator(seed: number): () => number {
  let state = (seed * 0x9e3779b9) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Normal values with this standard deviation. */
export const normal =
  (seed: number, scale = 1) =>
  (count: number): Float64Array => {
    const uniform = generator(seed);
    return Float64Array.from(
      { length: count },
      () => scale * Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
    );
  };

export const uniform =
  (seed: number, low: number, high: number) =>
  (count: number): Float64Array => {
    const next = generator(seed);
    return Float64Array.from({ length: count }, () => low + (high - low) * next());
  };

/** Whole numbers in [low, high). */
export const integers =
  (seed: number, low: number, high: number) =>
  (count: number): Float64Array => {
    const next = generator(seed);
    return Float64Array.from({ length: count }, () => Math.floor(low + (high - low) * next()));
  };

export const constant =
  (value: number) =>
  (count: number): Float64Array =>
    new Float64Array(count).fill(value);
