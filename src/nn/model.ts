import type { Communicator } from '../distributed/communicator.js';
import type { Device } from '../tensor/device.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ForwardContext } from './context.js';
import type { Linear } from './linear.js';
import type { Part } from './shard.js';

/** Of the whole model, whatever a rank holds of it. */
export interface ModelConfig {
  /** As in config.json, for export. */
  readonly source: Record<string, unknown>;
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
  readonly eosTokenIds: readonly number[];
  readonly tiedEmbeddings: boolean;
}

/**
 * A causal language model. It owns its weights; an engine and a trainer may borrow it at the same time. With a group it is one rank's
 * part of the model: every rank calls `forward` with the same context, and all have the same hidden states.
 */
export interface CausalLM {
  readonly device: Device;
  readonly dtype: 'f32' | 'bf16';
  readonly config: ModelConfig;
  /** Ranks that hold the model together; null: this one alone. */
  readonly group: Communicator | null;
  /** Key-value heads that this rank computes. */
  readonly kvHeads: number;
  /** Hidden states after the final norm, [T, E]. */
  forward(context: ForwardContext): Tensor;
  /** The head, [V, E] or this rank's rows of it: logits = hidden · outputWeightᵀ. The embedding itself where they are tied. */
  readonly outputWeight: Tensor;
  /** Every weight by its name in the checkpoint. Tied weights appear once. */
  readonly weights: ReadonlyMap<string, Tensor>;
  /** What of the whole each of them is. */
  readonly parts: ReadonlyMap<string, Part>;
  /** Every linear layer by its module's name, the head left out. */
  readonly linears: ReadonlyMap<string, Linear>;
  /** Counts changes of weights and adapters, so that caches built on them notice. */
  readonly weightVersion: number;
  /** To be called after weights or adapters changed. */
  weightsChanged(): void;
  dispose(): void;
}
