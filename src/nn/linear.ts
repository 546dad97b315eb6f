import type { Communicator } from '../distributed/communicator.js';
import { loraLinear } from '../ops/lora.js';
import { addBias, linear } from '../ops/matmul.js';
import { reduceFromGroup } from '../ops/parallel.js';
import { QuantisedWeight, quantisedLinear } from '../ops/quantised.js';
import { dropoutPurpose } from '../ops/random.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ForwardContext } from './context.js';
import { adapterParts, type ModelWeights, type Part } from './shard.js';

/** A low-rank adapter of one linear layer: y += scale · dropout(x) · Aᵀ · Bᵀ. */
export interface LoraAdapter {
  /** f32 [rank, inputs], of the inputs that this rank has. */
  a: Tensor;
  /** f32 [outputs, rank], of the outputs that this rank has. */
  b: Tensor;
  /** alpha / rank, or alpha / √rank. */
  scale: number;
  /** Probability, while training; one mask per module. */
  dropout: number;
  seed: number;
}

/**
 * y = x · weightᵀ (+ bias) (+ adapter). The one place where adapters, sharding and quantised weights meet.
 *
 * Of a column-parallel layer, x is whole, and y has the outputs of this rank; several that begin at one x share one
 * {@link import('../ops/parallel.js').copyToGroup}. Of a row-parallel layer, x has the inputs of this rank, and y is whole: the sum over
 * the ranks.
 */
export class Linear {
  /** The module's name in the checkpoint, such as `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** [outputs, inputs] that this rank has. */
  readonly weight: Tensor | QuantisedWeight;
  /** What of the whole weight that is. */
  readonly part: Part;
  /** [outputs] */
  readonly bias: Tensor | null;
  adapter: LoraAdapter | null = null;
  readonly #number: number;
  readonly #group: Communicator | null;

  /**
   * @param number of this layer among the model's, which gives its dropout a mask of its own.
   * @param weights that hold `NAME.weight` and, of a layer with a bias, `NAME.bias`.
   */
  constructor(name: string, number: number, { tensors, parts, quantised, group }: ModelWeights) {
    this.name = name;
    this.#number = number;
    this.weight = quantised?.get(`${name}.weight`) ?? tensors.get(`${name}.weight`)!;
    this.part = parts.get(`${name}.weight`)!;
    this.bias = tensors.get(`${name}.bias`) ?? null;
    this.#group = group;
  }

  forward(x: Tensor, context: ForwardContext): Tensor {
    const { adapter, weight } = this;
    const base = () => (weight instanceof QuantisedWeight ? quantisedLinear(x, weight) : linear(x, weight));
    const own = adapter ? this.#adapted(x, adapter, context) : base();
    const y = this.part.kind === 'row' ? reduceFromGroup(own, this.#group) : own;
    return this.bias ? addBias(y, this.bias) : y;
  }

  /** What this rank holds of an adapter's A [rank, inputs] and B [outputs, rank]. */
  adapterParts(rank: number): { a: Part; b: Part } {
    return adapterParts(this.part, rank, { rank: this.#group?.rank ?? 0, size: this.#group?.size ?? 1 });
  }

  #adapted(x: Tensor, { a, b, scale, dropout, seed }: LoraAdapter, context: ForwardContext): Tensor {
    const training = context.kind === 'packed' ? context.training : undefined;
    const first = this.part.kind === 'row' ? this.part.start : 0;
    const place = { purpose: dropoutPurpose(this.#number), first, columns: this.part.whole[1]! };
    const mask = training && dropout > 0 ? { p: dropout, seed, step: training.step, ...place } : null;
    return loraLinear(x, this.weight, a, b, scale, mask, context.kind === 'packed');
  }
}
