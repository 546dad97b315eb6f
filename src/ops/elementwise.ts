import type { DType } from '../tensor/dtype.js';
import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import { reshape } from './reshape.js';

/** a + b, of one shape and dtype. */
export function add(a: Tensor, b: Tensor): Tensor {
  const y = a.like();
  launch('add', [a, b, y], [1]);
  record('add', [a, b], [y], [], (context) => {
    context.add(0, context.gradient());
    context.add(1, context.gradient());
  });
  return y;
}

/** a · b elementwise, of one shape and dtype. */
export function mul(a: Tensor, b: Tensor): Tensor {
  const y = a.like();
  launch('mul', [a, b, y]);
  record('mul', [a, b], [y], [a, b], (context) => {
    for (const [index, other] of [
      [0, 1],
      [1, 0],
    ] as const) {
      if (!context.needs(index)) continue;
      const gradient = context.gradient();
      const product = gradient.like();
      launch('mul', [gradient, context.saved(other), product]);
      context.add(index, product);
    }
  });
  return y;
}

/** x · value. */
export function scale(x: Tensor, value: number): Tensor {
  const y = x.like();
  launch('scale', [x, y], [value]);
  record('scale', [x], [y], [], (context) => {
    const gradient = context.gradient();
    const dx = gradient.like();
    launch('scale', [gradient, dx], [value]);
    context.add(0, dx);
  });
  return y;
}

/** eˣ. */
export function exp(x: Tensor): Tensor {
  const y = x.like();
  launch('exp', [x, y]);
  record('exp', [x], [y], [y], (context) => {
    const dx = y.like();
    launch('mul', [context.gradient(), context.saved(0), dx]);
    context.add(0, dx);
  });
  return y;
}

/** x in another float dtype; a view of x where it has that already. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return reshape(x, x.shape);
  const y = x.like(dtype);
  launch('copy', [x, y]);
  record('cast', [x], [y], [], (context) => context.add(0, context.gradient()));
  return y;
}
