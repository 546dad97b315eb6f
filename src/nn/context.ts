import type { KvLayer } from '../ops/attention.js';
import type { Tensor } from '../tensor/tensor.js';
import type { LayerHooks } from './layer_hooks.js';

/**
 * What differs between training, scoring, prefill and decode. A model has one forward pass; the caller says through this
 * which tokens it sees and where keys and values live.
 *
 * Legend: T tokens of the batch, B sequences, G key-value heads, D head size.
 */
export type ForwardContext = PackedContext | PagedContext;

/** T tokens of many documents side by side; positions restart at 0, attention stays within a document. */
export interface PackedContext {
  kind: 'packed';
  /** i32 [T] */
  tokens: Tensor;
  /** i32 [T] */
  positions: Tensor;
  /** i32 [B+1] */
  cuSeqlens: Tensor;
  /** Set while training. */
  training?: TrainingContext;
  /** Told which layer is at work, where ranks share the work. */
  layers?: LayerHooks;
}

export interface TrainingContext {
  /** Names this forward pass for dropout: the number of micro-batches before it. Recomputation and resume use the same. */
  step: number;
  activationCheckpointing: ActivationCheckpointing;
}

/**
 * What the forward pass keeps for the backward pass. `none`: all that it reads. `selective`: the products of matrices and attention;
 * norms and gated activations are computed again (the tape does that). `layer`: each layer's input; the whole layer is computed again.
 * Gradients are the same bits.
 */
export type ActivationCheckpointing = 'none' | 'selective' | 'layer';

/** T query tokens of many sequences, prefill chunks and decodes mixed; keys and values in blocks. */
export interface PagedContext {
  kind: 'paged';
  /** i32 [T] */
  tokens: Tensor;
  /** i32 [T] */
  positions: Tensor;
  /** i32 [B+1], query tokens */
  cuSeqlens: Tensor;
  /** i32 [B], keys, these tokens included */
  contextLengths: Tensor;
  /** i32 [B, maxBlocks] */
  blockTable: Tensor;
  /** i32 [T]: block · blockSize + offset; −1 writes nothing */
  slots: Tensor;
  cache: KvCache;
}

export interface KvCache {
  blockSize: number;
  blocks: number;
  /** One per layer: [blocks, blockSize, G, D] each, in the model's dtype or fp8. */
  layers: KvLayer[];
}
