import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Rows of `table` [V, E] by `ids` i32 [N] → [N, E]. Also gathers rows of activations.
 * @throws (on read) for an id outside [0, V).
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const y = Tensor.empty(table.device, [ids.size, table.shape[1]!], table.dtype);
  launch('embedding', [table, ids, y]);
  record('embedding', [table], [y], [ids], (context) => {
    context.into(0, (target, accumulate) => {
      if (target.dtype === 'f32') {
        if (!accumulate) launch('fill', [target], [0]);
        launch('embedding_backward', [context.saved(0), context.gradient(), target]);
        return;
      }
      using wide = Tensor.zeros(target.device, target.shape, 'f32');
      launch('embedding_backward', [context.saved(0), context.gradient(), wide]);
      if (accumulate) launch('add', [target, wide, target], [1]);
      else launch('copy', [wide, target]);
    });
  });
  return y;
}
