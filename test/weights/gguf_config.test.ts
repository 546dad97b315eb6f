import { describe, expect, test } from 'vitest';
import { ropeOf } from '../../src/nn/rope.js';
import { ggufConfig, ggufTensorName, permutedHeads } from '../../src/weights/gguf_config.js';

const minimal = {
  'general.architecture': 'llama',
  'llama.block_count': 2,
  'llama.context_length': 2048,
  'llama.embedding_length': 48,
  'llama.feed_forward_length': 96,
  'llama.attention.head_count': 6,
  'llama.attention.layer_norm_rms_epsilon': 1e-5,
};
const config = (more: object = {}, tensors: string[] = [], divisors: number[] | null = null) =>
  ggufConfig({ ...minimal, ...more }, new Set(tensors), 100, divisors, 'm.gguf');

describe('ggufConfig', () => {
  test('fills in what GGUF leaves out', () => {
    expect(config()).toEqual({
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      vocab_size: 100,
      hidden_size: 48,
      intermediate_size: 96,
      num_hidden_layers: 2,
      num_attention_heads: 6,
      num_key_value_heads: 6,
      head_dim: 8,
      hidden_act: 'silu',
      max_position_embeddings: 2048,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      rope_scaling: null,
      attention_bias: false,
      mlp_bias: false,
      tie_word_embeddings: true,
      bos_token_id: null,
      eos_token_id: null,
    });
  });

  test('takes what GGUF says', () => {
    const more = {
      'llama.attention.head_count_kv': 2,
      'llama.attention.key_length': 16,
      'llama.attention.value_length': 16,
      'llama.rope.freq_base': 500000,
      'llama.rope.dimension_count': 8,
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.eot_token_id': 3,
    };
    expect(config(more, ['output.weight', 'blk.0.attn_q.bias', 'blk.0.ffn_up.bias'])).toMatchObject({
      num_key_value_heads: 2,
      head_dim: 16,
      rope_theta: 500000,
      partial_rotary_factor: 0.5,
      attention_bias: true,
      mlp_bias: true,
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: [2, 3],
    });
  });

  test('understands linear and YaRN scaling', () => {
    const scaling = (more: object) => config(more).rope_scaling;
    expect(scaling({ 'llama.rope.scaling.type': 'none' })).toBeNull();
    expect(scaling({ 'llama.rope.scaling.type': 'linear', 'llama.rope.scaling.factor': 4 })).toEqual({
      rope_type: 'linear',
      factor: 4,
    });
    expect(scaling({ 'llama.rope.scale_linear': 2 })).toEqual({ rope_type: 'linear', factor: 2 });
    const yarn = {
      'llama.rope.scaling.type': 'yarn',
      'llama.rope.scaling.factor': 8,
      'llama.rope.scaling.original_context_length': 256,
      'llama.rope.scaling.yarn_beta_fast': 16,
    };
    expect(scaling(yarn)).toEqual({
      rope_type: 'yarn',
      factor: 8,
      original_max_position_embeddings: 256,
      beta_fast: 16,
    });
    expect(() => scaling({ 'llama.rope.scaling.type': 'longrope', 'llama.rope.scaling.factor': 1 })).toThrow(
      /to be none, linear or yarn but received 'longrope'/,
    );
    expect(() => scaling({ ...yarn, 'llama.rope.scaling.attn_factor': 1.2 })).toThrow(/scaling.attn_factor' is not/);
  });

  test('finds the scaling of Llama 3 in its divisors, to the same frequencies', () => {
    for (const [factor, theta] of [
      [8, 500000],
      [32, 500000],
    ] as const) {
      const settings = {
        rope_type: 'llama3',
        factor,
        low_freq_factor: 1,
        high_freq_factor: 4,
        original_max_position_embeddings: 8192,
      };
      const scaled = ropeOf({ rope_theta: theta, rope_scaling: settings }, 64).inverseFrequencies;
      const plain = ropeOf({ rope_theta: theta }, 64).inverseFrequencies;
      const divisors = [...plain].map((frequency, index) => Math.fround(frequency / scaled[index]!));
      const more = {
        'llama.rope.dimension_count': 64,
        'llama.attention.key_length': 64,
        'llama.rope.freq_base': theta,
      };
      const found = config({ ...more, 'llama.attention.value_length': 64 }, [], divisors);
      expect(found.rope_scaling).toEqual(settings);
      expect(ropeOf(found, 64).inverseFrequencies).toEqual(scaled);
      const other = divisors.map((value, index) => (index === 20 ? value * 1.1 : value));
      expect(() => config(more, [], other)).toThrow(/'rope_freqs.weight' is not the rotary scaling of Llama 3/);
      expect(() => config(more, [], divisors.slice(1))).toThrow(/'rope_freqs.weight'/);
    }
    expect(config({}, [], [1, 1, 1, 1]).rope_scaling).toBeNull();
  });

  test('refuses what it would compute wrongly', () => {
    expect(() => config({ 'general.architecture': 'qwen2' })).toThrow(
      /^m\.gguf: Expected the architecture of a GGUF file to be one of llama but received 'qwen2'; use/,
    );
    expect(() => config({ 'general.architecture': 'lama' })).toThrow(/did you mean 'llama'/);
    expect(() => config({ 'general.architecture': undefined })).toThrow(/received 'undefined'/);
    expect(() => config({ 'llama.expert_count': 8 })).toThrow(/mixtures of experts/);
    expect(() => config({ 'llama.attention.value_length': 4 })).toThrow(/keys and values of different size/);
    expect(() => config({ 'llama.block_count': undefined })).toThrow(
      /'llama.block_count' to be a positive whole number/,
    );
    expect(() => config({ 'llama.attention.head_count': [6, 6] })).toThrow(/'llama.attention.head_count'.*\[6,6\]/);
    expect(() => config({ 'llama.attention.layer_norm_rms_epsilon': 0 })).toThrow(
      /rms_epsilon' to be a positive number/,
    );
  });
});

test('tensor names and permuted rows', () => {
  const names = {
    'token_embd.weight': 'model.embed_tokens.weight',
    'output_norm.weight': 'model.norm.weight',
    'output.weight': 'lm_head.weight',
    'blk.0.attn_norm.weight': 'model.layers.0.input_layernorm.weight',
    'blk.12.attn_q.bias': 'model.layers.12.self_attn.q_proj.bias',
    'blk.1.attn_k.weight': 'model.layers.1.self_attn.k_proj.weight',
    'blk.1.attn_v.weight': 'model.layers.1.self_attn.v_proj.weight',
    'blk.1.attn_output.weight': 'model.layers.1.self_attn.o_proj.weight',
    'blk.1.ffn_norm.weight': 'model.layers.1.post_attention_layernorm.weight',
    'blk.1.ffn_gate.weight': 'model.layers.1.mlp.gate_proj.weight',
    'blk.1.ffn_up.weight': 'model.layers.1.mlp.up_proj.weight',
    'blk.1.ffn_down.weight': 'model.layers.1.mlp.down_proj.weight',
  };
  for (const [gguf, name] of Object.entries(names)) expect(ggufTensorName(gguf, 'm.gguf')).toBe(name);
  for (const gguf of ['blk.0.attn_q_norm.weight', 'blk.0.output.weight', 'attn_q.weight', 'constructor.weight', 'x'])
    expect(() => ggufTensorName(gguf, 'm.gguf')).toThrow(`m.gguf: tensor '${gguf}' is none of a Llama model's`);
  const heads = { num_attention_heads: 9, num_key_value_heads: 3 };
  expect(permutedHeads('blk.0.attn_q.weight', heads)).toBe(9);
  expect(permutedHeads('blk.0.attn_k.bias', heads)).toBe(3);
  expect(permutedHeads('blk.0.attn_v.weight', heads)).toBe(0);
});
