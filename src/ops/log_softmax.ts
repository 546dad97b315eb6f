import { Tensor } from '../tensor/tensor.js';
import { tokenLogprobs } from './cross_entropy.js';
import { embedding } from './embedding.js';
import { reshape } from './reshape.js';

/**
 * log softmax over each row of x, f32 [N, K] → f32 [N, K], for a small K: every row is repeated K times (N·K² elements) and
 * {@link tokenLogprobs} takes one column of each, with the identity for its weight. Over a vocabulary, use that itself.
 */
export function logSoftmax(x: Tensor): Tensor {
  const [rows, columns] = x.shape as [number, number];
  const identity = new Float32Array(columns * columns);
  for (let column = 0; column < columns; ++column) identity[column * columns + column] = 1;
  const index = (of: (element: number) => number) =>
    Tensor.from(
      x.device,
      Int32Array.from({ length: x.size }, (_, i) => of(i)),
    );
  const repeated = embedding(
    x,
    index((element) => Math.floor(element / columns)),
  );
  const weight = Tensor.from(x.device, identity, [columns, columns]);
  const { logprobs } = tokenLogprobs(
    repeated,
    weight,
    index((element) => element % columns),
  );
  return reshape(logprobs, [rows, columns]);
}
