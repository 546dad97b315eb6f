/** Models of any size with random weights, made on the device: what speed and memory depend on, without files. */
import { modelFamily } from '../../models/registry.js';
import type { CausalLM } from '../../src/nn/model.js';
import { partsOf } from '../../src/nn/shard.js';
import type { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

/** As Llama-3.1-8B's config.json has it. */
export const llama8b = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  vocab_size: 128256,
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  rope_scaling: {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  },
  tie_word_embeddings: false,
  torch_dtype: 'bfloat16',
};

/** The same shape in small, for a device that emulates. */
export const tinyLlama = {
  ...llama8b,
  vocab_size: 320,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
};

const blockElements = 1 << 22;

/** Normal weights of deviation 0.02, and norms of 1. A block of a few million numbers is repeated: enough for speed, not for study. */
export function randomModel(device: Device, config: Record<string, unknown>, dtype: 'f32' | 'bf16'): CausalLM {
  const { weights: specs, build } = modelFamily(config).prepare(config);
  const random = seededUniform(1);
  using block = Tensor.from(
    device,
    Float32Array.from({ length: blockElements }, () => normal(random) * 0.02),
    [blockElements],
    dtype,
  );
  const weights = new Map<string, Tensor>();
  for (const [name, { shape }] of specs) {
    if (shape.length === 1) {
      weights.set(name, Tensor.full(device, shape, 1, dtype));
      continue;
    }
    const weight = Tensor.empty(device, shape, dtype);
    using flat = weight.reshape([weight.size]);
    for (let start = 0; start < flat.size; start += blockElements) {
      const length = Math.min(blockElements, flat.size - start);
      using from = block.narrow(0, 0, length);
      using to = flat.narrow(0, start, length);
      launch('copy', [from, to]);
    }
    weights.set(name, weight);
  }
  return build({ tensors: weights, parts: partsOf(specs, { rank: 0, size: 1 }), group: null });
}

/** xorshift32 (Marsaglia 2003), in (0, 1]. */
export function seededUniform(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return ((state >>> 0) + 1) / 2 ** 32;
  };
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(random())) * Math.cos(2 * Math.PI * random());
}
