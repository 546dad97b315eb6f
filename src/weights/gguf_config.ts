/** A GGUF file of the Llama architecture in the terms of transformers: config.json, tensor names, row orders. */
import { didYouMean, UserError } from '../errors.js';

type Metadata = Readonly<Record<string, unknown>>;

/** `general.architecture` values that can be read. */
const knownArchitectures = ['llama'];

/**
 * What config.json would say.
 * @param tensors names in the GGUF file
 * @param vocabSize rows of the embedding table
 * @param frequencyFactors values of the tensor `rope_freqs.weight`, null when the file has none
 * @param source the file that errors name
 * @throws UserError for another architecture, a missing key, or a variant of Llama that is computed differently
 */
export function ggufConfig(
  metadata: Metadata,
  tensors: ReadonlySet<string>,
  vocabSize: number,
  frequencyFactors: readonly number[] | null,
  source: string,
): Record<string, unknown> {
  const architecture = String(metadata['general.architecture']);
  if (!knownArchitectures.includes(architecture))
    throw new UserError(
      `${source}: Expected the architecture of a GGUF file to be one of ${knownArchitectures.join(', ')} but received '${architecture}'${didYouMean(architecture, knownArchitectures)}; use the model's safetensors folder`,
    );
  const get = (key: string): unknown => metadata[`${architecture}.${key}`];
  const whole = (key: string, fallback?: number): number => {
    const value = get(key) ?? fallback;
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
    throw new UserError(
      `${source}: Expected '${architecture}.${key}' to be a positive whole number but received ${JSON.stringify(get(key))}; convert the model again`,
    );
  };
  const real = (key: string, fallback?: number): number => {
    const value = get(key) ?? fallback;
    if (typeof value === 'number' && value > 0) return value;
    throw new UserError(
      `${source}: Expected '${architecture}.${key}' to be a positive number but received ${JSON.stringify(get(key))}; convert the model again`,
    );
  };
  if (get('expert_count'))
    throw new UserError(`${source}: mixtures of experts cannot be read from GGUF; use the model's safetensors folder`);

  const hiddenSize = whole('embedding_length');
  const heads = whole('attention.head_count');
  const headDim = whole('attention.key_length', Math.floor(hiddenSize / heads));
  if (whole('attention.value_length', headDim) !== headDim)
    throw new UserError(`${source}: keys and values of different size cannot be computed; use another model`);
  const rotated = whole('rope.dimension_count', headDim);
  const context = whole('context_length');
  const theta = real('rope.freq_base', 10000);
  const prefix = `${architecture}.rope.scaling.`;
  const scalingKeys = Object.keys(metadata).flatMap((key) =>
    key.startsWith(prefix) ? [key.slice(prefix.length)] : [],
  );
  const scaling = frequencyFactors
    ? llama3Scaling(frequencyFactors, theta, rotated, source)
    : ropeScaling(scalingKeys, get, real, context, source);
  const eos = ['eos', 'eot', 'eom']
    .map((name) => metadata[`tokenizer.ggml.${name}_token_id`])
    .filter((id) => id !== undefined);
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabSize,
    hidden_size: hiddenSize,
    intermediate_size: whole('feed_forward_length'),
    num_hidden_layers: whole('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: whole('attention.head_count_kv', heads),
    head_dim: headDim,
    hidden_act: 'silu',
    max_position_embeddings: context,
    rms_norm_eps: real('attention.layer_norm_rms_epsilon'),
    rope_theta: theta,
    ...(rotated === headDim ? {} : { partial_rotary_factor: rotated / headDim }),
    rope_scaling: scaling,
    attention_bias: tensors.has('blk.0.attn_q.bias'),
    mlp_bias: tensors.has('blk.0.ffn_up.bias'),
    tie_word_embeddings: !tensors.has('output.weight'),
    bos_token_id: metadata['tokenizer.ggml.bos_token_id'] ?? null,
    eos_token_id: eos.length > 1 ? [...new Set(eos)] : (eos[0] ?? null),
  };
}

function ropeScaling(
  keys: readonly string[],
  get: (key: string) => unknown,
  real: (key: string, fallback?: number) => number,
  context: number,
  source: string,
): Record<string, unknown> | null {
  const known = ['type', 'factor', 'original_context_length', 'finetuned', 'yarn_beta_fast', 'yarn_beta_slow'];
  const unknown = keys.find((key) => !known.includes(key));
  if (unknown !== undefined)
    throw new UserError(
      `${source}: 'llama.rope.scaling.${unknown}' is not understood; use the model's safetensors folder`,
    );
  const type = get('rope.scaling.type') ?? (get('rope.scale_linear') === undefined ? 'none' : 'linear');
  if (type === 'none') return null;
  const factor = real('rope.scaling.factor', get('rope.scale_linear') as number | undefined);
  if (type === 'linear') return { rope_type: 'linear', factor };
  if (type !== 'yarn')
    throw new UserError(
      `${source}: Expected 'llama.rope.scaling.type' to be none, linear or yarn but received '${type}'; use the model's safetensors folder`,
    );
  return {
    rope_type: 'yarn',
    factor,
    original_max_position_embeddings: real('rope.scaling.original_context_length', context),
    ...(get('rope.scaling.yarn_beta_fast') === undefined ? {} : { beta_fast: real('rope.scaling.yarn_beta_fast') }),
    ...(get('rope.scaling.yarn_beta_slow') === undefined ? {} : { beta_slow: real('rope.scaling.yarn_beta_slow') }),
  };
}

/**
 * GGUF keeps Llama 3's scaling as one divisor per frequency. All released models share three of its four parameters; the
 * fourth is the largest divisor. Divisors that this does not reproduce are refused.
 */
function llama3Scaling(
  divisors: readonly number[],
  theta: number,
  dimensions: number,
  source: string,
): Record<string, unknown> | null {
  const factor = Math.max(...divisors);
  if (factor === 1) return null;
  const [low, high, original] = [1, 4, 8192];
  const expected = Array.from({ length: dimensions / 2 }, (_, index) => {
    const turns = (original * theta ** ((-2 * index) / dimensions)) / (2 * Math.PI);
    if (turns < low) return factor;
    if (turns > high) return 1;
    const smooth = (turns - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
  if (
    divisors.length !== expected.length ||
    divisors.some((value, index) => !(Math.abs(value / expected[index]! - 1) < 1e-3))
  )
    throw new UserError(
      `${source}: the tensor 'rope_freqs.weight' is not the rotary scaling of Llama 3; use the model's safetensors folder`,
    );
  return {
    rope_type: 'llama3',
    factor,
    low_freq_factor: low,
    high_freq_factor: high,
    original_max_position_embeddings: original,
  };
}

const moduleNames: Record<string, string> = {
  token_embd: 'model.embed_tokens',
  output_norm: 'model.norm',
  output: 'lm_head',
};
const layerModuleNames: Record<string, string> = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};

/** The tensor that holds rotary divisors instead of a weight. */
export const frequencyTensor = 'rope_freqs.weight';

/**
 * The name that transformers gives a tensor.
 * @throws UserError for a tensor the architecture does not have: leaving it out would silently compute something else
 */
export function ggufTensorName(name: string, source: string): string {
  const [, layer, module, kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const names = layer === undefined ? moduleNames : layerModuleNames;
  if (module === undefined || !Object.hasOwn(names, module))
    throw new UserError(`${source}: tensor '${name}' is none of a Llama model's; use the model's safetensors folder`);
  return `${layer === undefined ? '' : `model.layers.${layer}.`}${names[module]}.${kind}`;
}

/** How many heads' rows GGUF has interleaved in a tensor; 0 where it keeps the order. */
export function permutedHeads(name: string, config: Readonly<Record<string, unknown>>): number {
  if (/^blk\.\d+\.attn_q\./.test(name)) return config.num_attention_heads as number;
  if (/^blk\.\d+\.attn_k\./.test(name)) return config.num_key_value_heads as number;
  return 0;
}
