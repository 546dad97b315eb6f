/**
 * The Llama family (Touvron et al. 2023; Dubey et al. 2024): pre-norm, rotary attention with grouped heads, SwiGLU. Any head
 * size, biases or none, embeddings tied or not.
 *
 * Legend: T tokens, E hidden size, H heads, G key-value heads, D head size, I intermediate size, V vocabulary.
 */
import type { Communicator } from '../src/distributed/communicator.js';
import { UserError } from '../src/errors.js';
import type { ForwardContext } from '../src/nn/context.js';
import { inLayer } from '../src/nn/layer_hooks.js';
import { Linear } from '../src/nn/linear.js';
import type { CausalLM, ModelConfig } from '../src/nn/model.js';
import { type Rope, ropeOf } from '../src/nn/rope.js';
import type { ModelWeights, Part, Shard, WeightSpec } from '../src/nn/shard.js';
import { attention, pagedAttention } from '../src/ops/attention.js';
import { add } from '../src/ops/elementwise.js';
import { embedding } from '../src/ops/embedding.js';
import { copyToGroup } from '../src/ops/parallel.js';
import { QuantisedWeight } from '../src/ops/quantised.js';
import { reshape } from '../src/ops/reshape.js';
import { addRmsNorm, rmsNorm } from '../src/ops/rms_norm.js';
import { rotary, rotaryTable } from '../src/ops/rotary.js';
import { siluMul } from '../src/ops/silu_mul.js';
import { checkpoint } from '../src/tensor/checkpoint.js';
import type { Device } from '../src/tensor/device.js';
import { scope } from '../src/tensor/scope.js';
import { Tensor } from '../src/tensor/tensor.js';

export interface LlamaConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly rmsNormEps: number;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly rope: Rope;
}

/** Reads config.json. @throws UserError for what this implementation does not do. */
export function llamaConfig(source: Record<string, unknown>): LlamaConfig {
  const whole = (key: string, fallback?: number): number => {
    const value = source[key] ?? fallback;
    // Beyond that tables of names or angles alone would take the machine's memory.
    const most = key === 'num_hidden_layers' || key === 'head_dim' ? 1 << 14 : 2 ** 31;
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > most)
      throw new UserError(
        `Expected '${key}' in the model's config to be a whole number from 1 to ${most} but received ${JSON.stringify(source[key])}`,
      );
    return value as number;
  };
  const hiddenSize = whole('hidden_size');
  const numHeads = whole('num_attention_heads');
  const numKvHeads = whole('num_key_value_heads', numHeads);
  if (numHeads % numKvHeads !== 0)
    throw new UserError(
      `Expected 'num_attention_heads' to be a multiple of 'num_key_value_heads' but received ${numHeads} and ${numKvHeads}`,
    );
  if ((source.hidden_act ?? 'silu') !== 'silu')
    throw new UserError(
      `Expected 'hidden_act' to be 'silu' but the model's config has ${JSON.stringify(source.hidden_act)}`,
    );
  const headDim = whole('head_dim', Math.floor(hiddenSize / numHeads));
  const eos = source.eos_token_id;
  return {
    source,
    vocabSize: whole('vocab_size'),
    hiddenSize,
    numLayers: whole('num_hidden_layers'),
    numHeads,
    numKvHeads,
    headDim,
    maxPositionEmbeddings: whole('max_position_embeddings', 2048),
    eosTokenIds: (Array.isArray(eos) ? eos : [eos]).filter((id): id is number => typeof id === 'number'),
    tiedEmbeddings: source.tie_word_embeddings === true,
    intermediateSize: whole('intermediate_size'),
    rmsNormEps: typeof source.rms_norm_eps === 'number' ? source.rms_norm_eps : 1e-6,
    attentionBias: source.attention_bias === true,
    mlpBias: source.mlp_bias === true,
    rope: ropeOf(source, headDim),
  };
}

/** Every weight's name and shape, and how it is cut over ranks. */
export function llamaWeights(config: LlamaConfig): Map<string, WeightSpec> {
  const { hiddenSize: E, headDim: D, numHeads: H, numKvHeads: G, intermediateSize: I, vocabSize: V } = config;
  const vocabulary: WeightSpec = { shape: [V, E], shard: { kind: 'vocabulary' } };
  const norm: WeightSpec = { shape: [E], shard: null };
  const heads = { units: H, of: 'attention heads' };
  const queries: Shard = { kind: 'column', ...heads };
  const keys: Shard = { kind: 'column', units: G, of: 'key-value heads', shared: true };
  const attended: Shard = { kind: 'row', ...heads };
  const inner = { units: I, of: 'hidden units of the MLP' };
  const weights = new Map<string, WeightSpec>([
    ['model.embed_tokens.weight', vocabulary],
    ['model.norm.weight', norm],
  ]);
  if (!config.tiedEmbeddings) weights.set('lm_head.weight', vocabulary);
  const addLinear = (name: string, outputs: number, inputs: number, bias: boolean, shard: Shard): void => {
    weights.set(`${name}.weight`, { shape: [outputs, inputs], shard });
    if (bias) weights.set(`${name}.bias`, { shape: [outputs], shard: shard.kind === 'column' ? shard : null });
  };
  for (let layer = 0; layer < config.numLayers; layer += 1) {
    const prefix = `model.layers.${layer}`;
    weights.set(`${prefix}.input_layernorm.weight`, norm);
    weights.set(`${prefix}.post_attention_layernorm.weight`, norm);
    addLinear(`${prefix}.self_attn.q_proj`, H * D, E, config.attentionBias, queries);
    addLinear(`${prefix}.self_attn.k_proj`, G * D, E, config.attentionBias, keys);
    addLinear(`${prefix}.self_attn.v_proj`, G * D, E, config.attentionBias, keys);
    addLinear(`${prefix}.self_attn.o_proj`, E, H * D, config.attentionBias, attended);
    addLinear(`${prefix}.mlp.gate_proj`, I, E, config.mlpBias, { kind: 'column', ...inner });
    addLinear(`${prefix}.mlp.up_proj`, I, E, config.mlpBias, { kind: 'column', ...inner });
    addLinear(`${prefix}.mlp.down_proj`, E, I, config.mlpBias, { kind: 'row', ...inner });
  }
  return weights;
}

interface Layer {
  index: number;
  inputNorm: Tensor;
  postAttentionNorm: Tensor;
  q: Linear;
  k: Linear;
  v: Linear;
  o: Linear;
  gate: Linear;
  up: Linear;
  down: Linear;
}

export class Llama implements CausalLM {
  readonly device: Device;
  readonly dtype: 'f32' | 'bf16';
  readonly config: LlamaConfig;
  readonly group: Communicator | null;
  readonly weights: ReadonlyMap<string, Tensor>;
  readonly parts: ReadonlyMap<string, Part>;
  readonly linears = new Map<string, Linear>();
  weightVersion = 0;
  readonly #layers: Layer[];
  readonly #inverseFrequencies: Tensor;

  /** Takes over `weights`, which hold every name of {@link llamaWeights} in one float dtype, linear layers' quantised or so. */
  constructor(config: LlamaConfig, weights: ModelWeights) {
    this.config = config;
    this.group = weights.group;
    this.weights = weights.tensors;
    this.parts = weights.parts;
    const embeddings = this.#weight('model.embed_tokens.weight');
    this.device = embeddings.device;
    this.dtype = embeddings.dtype as 'f32' | 'bf16';
    this.#inverseFrequencies = Tensor.from(this.device, config.rope.inverseFrequencies);
    this.#layers = Array.from({ length: config.numLayers }, (_, index) => this.#layer(index, weights));
  }

  #weight(name: string): Tensor {
    return this.weights.get(name)!;
  }

  #layer(index: number, weights: ModelWeights): Layer {
    const prefix = `model.layers.${index}`;
    const linear = (name: string): Linear => {
      const path = `${prefix}.${name}`;
      const module = new Linear(path, this.linears.size, weights);
      this.linears.set(path, module);
      return module;
    };
    return {
      index,
      inputNorm: this.#weight(`${prefix}.input_layernorm.weight`),
      postAttentionNorm: this.#weight(`${prefix}.post_attention_layernorm.weight`),
      q: linear('self_attn.q_proj'),
      k: linear('self_attn.k_proj'),
      v: linear('self_attn.v_proj'),
      o: linear('self_attn.o_proj'),
      gate: linear('mlp.gate_proj'),
      up: linear('mlp.up_proj'),
      down: linear('mlp.down_proj'),
    };
  }

  get outputWeight(): Tensor {
    return this.#weight(this.config.tiedEmbeddings ? 'model.embed_tokens.weight' : 'lm_head.weight');
  }

  get kvHeads(): number {
    return this.#layers[0]!.k.weight.shape[0]! / this.config.headDim;
  }

  weightsChanged(): void {
    this.weightVersion += 1;
  }

  forward(context: ForwardContext): Tensor {
    return scope(() => {
      const table = rotaryTable(context.positions, this.#inverseFrequencies, this.config.rope.attentionFactor);
      const checkpointing = context.kind === 'packed' && context.training?.activationCheckpointing === 'layer';
      let hidden_TE = embedding(this.#weight('model.embed_tokens.weight'), context.tokens);
      for (const layer of this.#layers) {
        const run = (input: Tensor, angles: Tensor): Tensor =>
          scope(() => inLayer(context, layer.index, () => this.#forwardLayer(layer, input, angles, context)));
        const next = checkpointing ? checkpoint(run, hidden_TE, table) : run(hidden_TE, table);
        hidden_TE.dispose();
        hidden_TE = next;
      }
      return rmsNorm(hidden_TE, this.#weight('model.norm.weight'), this.config.rmsNormEps);
    });
  }

  #forwardLayer(layer: Layer, hidden_TE: Tensor, table: Tensor, context: ForwardContext): Tensor {
    const { rmsNormEps } = this.config;
    const attended = this.#attention(layer, rmsNorm(hidden_TE, layer.inputNorm, rmsNormEps), table, context);
    const { sum: afterAttention, normed: normed_TE } = addRmsNorm(
      hidden_TE,
      attended,
      layer.postAttentionNorm,
      rmsNormEps,
    );
    const normed = copyToGroup(normed_TE, this.group);
    const activated = siluMul(layer.gate.forward(normed, context), layer.up.forward(normed, context));
    return add(afterAttention, layer.down.forward(activated, context));
  }

  #attention(layer: Layer, normed_TE: Tensor, table: Tensor, context: ForwardContext): Tensor {
    const { headDim: D } = this.config;
    const x_TE = copyToGroup(normed_TE, this.group);
    const [T, H, G] = [x_TE.shape[0]!, layer.q.weight.shape[0]! / D, layer.k.weight.shape[0]! / D];
    const query_THD = reshape(layer.q.forward(x_TE, context), [T, H, D]);
    const key_TGD = reshape(layer.k.forward(x_TE, context), [T, G, D]);
    const value_TGD = reshape(layer.v.forward(x_TE, context), [T, G, D]);
    const options = { scale: 1 / Math.sqrt(D) };
    const output_THD =
      context.kind === 'packed'
        ? attention(rotary(query_THD, table), rotary(key_TGD, table), value_TGD, context.cuSeqlens, options)
        : pagedAttention(query_THD, key_TGD, value_TGD, table, context.cache.layers[layer.index]!, context, options);
    return layer.o.forward(reshape(output_THD, [T, H * D]), context);
  }

  dispose(): void {
    for (const weight of this.weights.values()) {
      weight.grad?.dispose();
      weight.dispose();
    }
    for (const { adapter, weight } of this.linears.values()) {
      if (weight instanceof QuantisedWeight) weight.dispose();
      for (const tensor of [adapter?.a, adapter?.b]) {
        tensor?.grad?.dispose();
        tensor?.dispose();
      }
    }
    this.#inverseFrequencies.dispose();
  }
}
