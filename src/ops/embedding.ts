import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { localIds, reduceFromGroup, vocabularyShard } from './parallel.js';

/**
 * Rows of `table` [V, E] by `ids` i32 [N] → [N, E]. Also gathers rows of activations. An id of −1 is no row: zeros.
 * Of a table that is a rank's part of the vocabulary, ids are those of the whole, and so is the result.
 * @throws (on read) for an id outside [−1, V).
 */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const shard = vocabularyShard(table);
  if (shard === null) return lookUp(table, ids);
  return reduceFromGroup(lookUp(table, localIds(ids, table, shard)), shard.group);
}

function lookUp(table: Tensor, ids: Tensor): Tensor {
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
