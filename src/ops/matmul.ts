import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** x [T, K] · weight [N, K]ᵀ → [T, N]; the layout of a linear layer. f32 accumulation; y in x's dtype unless said otherwise. */
export function linear(x: Tensor, weight: Tensor, dtype = x.dtype): Tensor {
  const y = Tensor.empty(x.device, [x.shape[0]!, weight.shape[0]!], dtype);
  launch('matmul', [x, weight, y], [0, 1, 0, 1]);
  record('linear', [x, weight], [y], [x, weight], (context) => {
    const dy = context.gradient();
    context.into(0, (dx, accumulate) => launch('matmul', [dy, context.saved(1), dx], [0, 0, Number(accumulate), 1]));
    context.into(1, (dWeight, accumulate) =>
      launch('matmul', [dy, context.saved(0), dWeight], [1, 0, Number(accumulate), 1]),
    );
  });
  return y;
}

/** y [T, N] + bias [N] in every row: a product with a column of ones, so that its gradient is the same product transposed. */
export function addBias(y: Tensor, bias: Tensor): Tensor {
  const rows = y.shape[0]!;
  const columns = bias.shape[0]!;
  const result = y.like();
  using ones = Tensor.full(y.device, [rows, 1], 1, bias.dtype);
  launch('copy', [y, result]);
  launch('matmul', [ones, bias.reshape([columns, 1]), result], [0, 1, 1, 1]);
  record('addBias', [y, bias], [result], [ones], (context) => {
    const dy = context.gradient();
    context.add(0, dy);
    context.into(1, (target, accumulate) =>
      launch('matmul', [dy, context.saved(0), target.reshape([columns, 1])], [1, 0, Number(accumulate), 1]),
    );
  });
  return result;
}
