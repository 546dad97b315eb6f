import { loraLinear } from '../ops/lora.js';
import { addBias, linear } from '../ops/matmul.js';
import { dropoutPurpose } from '../ops/random.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ForwardContext } from './context.js';

/** A low-rank adapter of one linear layer: y += scale · dropout(x) · Aᵀ · Bᵀ. */
export interface LoraAdapter {
  /** f32 [rank, inputs] */
  a: Tensor;
  /** f32 [outputs, rank] */
  b: Tensor;
  /** alpha / rank, or alpha / √rank. */
  scale: number;
  /** Probability, while training; one mask per module. */
  dropout: number;
  seed: number;
}

/** y = x · weightᵀ (+ bias) (+ adapter). The one place where adapters, sharding and quantised weights meet. */
export class Linear {
  /** The module's name in the checkpoint, such as `model.layers.0.self_attn.q_proj`. */
  readonly name: string;
  /** [outputs, inputs] */
  readonly weight: Tensor;
  /** [outputs] */
  readonly bias: Tensor | null;
  adapter: LoraAdapter | null = null;
  readonly #number: number;

  /** @param number of this layer among the model's, which gives its dropout a mask of its own. */
  constructor(name: string, number: number, weight: Tensor, bias: Tensor | null = null) {
    this.name = name;
    this.#number = number;
    this.weight = weight;
    this.bias = bias;
  }

  forward(x: Tensor, context: ForwardContext): Tensor {
    const y = this.adapter ? this.#adapted(x, this.adapter, context) : linear(x, this.weight);
    return this.bias ? addBias(y, this.bias) : y;
  }

  #adapted(x: Tensor, { a, b, scale, dropout, seed }: LoraAdapter, context: ForwardContext): Tensor {
    const training = context.kind === 'packed' ? context.training : undefined;
    const mask =
      training && dropout > 0 ? { p: dropout, seed, purpose: dropoutPurpose(this.#number), step: training.step } : null;
    return loraLinear(x, this.weight, a, b, scale, mask);
  }
}
