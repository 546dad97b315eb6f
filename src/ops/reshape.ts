import { record } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/** A view of x with another shape of as many elements. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const y = x.reshape(shape);
  const before = x.shape;
  record('reshape', [x], [y], [], (context) => context.add(0, context.gradient().reshape(before)));
  return y;
}
