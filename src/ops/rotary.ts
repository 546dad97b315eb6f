import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Cosines and sines for {@link rotary}: positions i32 [T], inverse frequencies f32 [R/2] → f32 [T, R], both scaled by
 * `attentionFactor` (YaRN; 1 otherwise).
 */
export function rotaryTable(positions: Tensor, inverseFrequencies: Tensor, attentionFactor: number): Tensor {
  const table = Tensor.empty(positions.device, [positions.size, inverseFrequencies.size * 2], 'f32');
  launch('rotary_table', [positions, inverseFrequencies, table], [attentionFactor]);
  return table;
}

/** Rotary position embedding (Su et al. 2021), halves apart, on the first R of D dimensions of x [T, H, D]. */
export function rotary(x: Tensor, table: Tensor): Tensor {
  const y = x.like();
  launch('rotary', [x, table, y], [1]);
  record('rotary', [x], [y], [table], (context) => {
    const dx = Tensor.empty(x.device, x.shape, x.dtype);
    launch('rotary', [context.gradient(), context.saved(0), dx], [-1]); // the inverse of a rotation is its transpose
    context.add(0, dx);
  });
  return y;
}
