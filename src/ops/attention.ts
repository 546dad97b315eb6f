import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

export interface AttentionOptions {
  /** Factor of the scores before softmax; usually 1/√D. */
  scale: number;
  /** Keys that a query sees, itself included; 0: all before it. */
  window?: number;
}

/**
 * Packed causal attention, block-diagonal over documents. q [T, H, D], k and v [T, G, D] with H a multiple of G,
 * cuSeqlens i32 [B+1] → [T, H, D].
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, cuSeqlens: Tensor, options: AttentionOptions): Tensor {
  const output = q.like();
  const lse = Tensor.empty(q.device, [q.shape[0]!, q.shape[1]!], 'f32');
  const attributes = [options.scale, options.window ?? 0];
  launch('attention', [q, k, v, cuSeqlens, null, output, lse], attributes);
  record('attention', [q, k, v], [output], [q, k, v, cuSeqlens, output, lse], (context) => {
    const [dq, dk, dv] = [q.like(), k.like(), v.like()];
    const saved = [0, 1, 2, 3, 4, 5].map((index) => context.saved(index));
    launch('attention_backward', [...saved, context.gradient(), dq, dk, dv], attributes);
    context.add(0, dq);
    context.add(1, dk);
    context.add(2, dv);
  });
  return output;
}

/** Keys and values in blocks, for one layer: each [blocks, blockSize, G, D], in the dtype of what is written or fp8. */
export interface KvLayer {
  key: Tensor;
  value: Tensor;
}

export interface PagedBatch {
  /** i32 [B+1]: where the query tokens of each sequence begin. */
  cuSeqlens: Tensor;
  /** i32 [B]: keys of each sequence, these tokens included. */
  contextLengths: Tensor;
  /** i32 [B, maxBlocks]. */
  blockTable: Tensor;
  /** i32 [T]: block · blockSize + offset of each token; −1 writes nothing. */
  slots: Tensor;
}

/**
 * Turns q [T, H, D], in place, and k [T, G, D] by the angles of `table` ({@link rotaryTable}), writes k and v to their slots, then attends
 * from q to all keys of each sequence → [T, H, D]. Not differentiable.
 */
export function pagedAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  table: Tensor,
  layer: KvLayer,
  batch: PagedBatch,
  options: AttentionOptions,
): Tensor {
  const output = Tensor.empty(q.device, q.shape, q.dtype);
  launch('kv_write', [k, v, batch.slots, layer.key, layer.value, table, q]);
  launch(
    'paged_attention',
    [q, layer.key, layer.value, batch.blockTable, batch.cuSeqlens, batch.contextLengths, null, output],
    [options.scale, options.window ?? 0],
  );
  return output;
}
