import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** The sum of all elements: f32 [1], in a fixed order. */
export function sum(x: Tensor): Tensor {
  const y = Tensor.empty(x.device, [1], 'f32');
  launch('sum', [x, y]);
  record('sum', [x], [y], [y], (context) => {
    // Every element's gradient is the upstream scalar: a row of ones times it.
    using ones = Tensor.full(x.device, [x.size, 1], 1, 'f32');
    using broadcast = Tensor.empty(x.device, [x.size, 1], 'f32');
    launch('matmul', [ones, context.gradient().reshape([1, 1]), broadcast], [0, 0, 0, 1]);
    context.add(0, broadcast.reshape(x.shape));
  });
  return y;
}
