/** Who holds what of a weight. */
import { expect, test } from 'vitest';
import { llamaConfig, llamaWeights } from '../../models/llama.js';
import { partOf, partShape, partsOf, type WeightSpec } from '../../src/nn/shard.js';

const heads = (units: number, shared = false): WeightSpec => ({
  shape: [units * 8, 32],
  shard: { kind: 'column', units, of: 'heads', shared },
});

const parts = (spec: WeightSpec, size: number) =>
  Array.from({ length: size }, (_, rank) => partOf(spec, { rank, size }));

test('parts cover the whole once, whatever the vocabulary', () => {
  for (const [rows, size] of [
    [131, 2],
    [131, 4],
    [4, 4],
    [7, 3],
  ] as const) {
    const found = parts({ shape: [rows, 5], shard: { kind: 'vocabulary' } }, size);
    let end = 0;
    for (const { start, length } of found) {
      expect(start).toBe(end);
      expect(length).toBeGreaterThanOrEqual(Math.floor(rows / size));
      expect(length).toBeLessThanOrEqual(Math.ceil(rows / size));
      end += length;
    }
    expect(end).toBe(rows);
  }
});

test('columns are cut along the outputs, rows along the inputs', () => {
  expect(parts(heads(4), 2).map(partShape)).toEqual([
    [16, 32],
    [16, 32],
  ]);
  const row: WeightSpec = { shape: [32, 24], shard: { kind: 'row', units: 3, of: 'heads' } };
  expect(parts(row, 3).map(({ axis, start, length }) => [axis, start, length])).toEqual([
    [1, 0, 8],
    [1, 8, 8],
    [1, 16, 8],
  ]);
});

test('a unit is shared where there are more ranks', () => {
  const found = parts(heads(2, true), 4);
  expect(found.map(({ start, length, holders, holder, partial }) => [start, length, holders, holder, partial])).toEqual(
    [
      [0, 8, 2, 0, true],
      [0, 8, 2, 1, true],
      [8, 8, 2, 0, true],
      [8, 8, 2, 1, true],
    ],
  );
});

test('what cannot be shared out is refused in one line', () => {
  expect(() => partOf(heads(9), { rank: 0, size: 2 })).toThrow(
    /^Expected 'tp' to divide the model's 9 heads but received 2$/,
  );
  expect(() => partOf(heads(3, true), { rank: 0, size: 4 })).toThrow(
    /^Expected 'tp' to divide the model's 3 heads, or to be a multiple of it, but received 4$/,
  );
  expect(() => partOf({ shape: [3, 5], shard: { kind: 'vocabulary' } }, { rank: 0, size: 4 })).toThrow(
    /vocabulary of 3/,
  );
});

test('a Llama says of every weight how it is cut', () => {
  const config = llamaConfig({
    ...{ vocab_size: 131, hidden_size: 64, intermediate_size: 48, num_hidden_layers: 1, attention_bias: true },
    ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 16, mlp_bias: true },
  });
  const shapes = [...partsOf(llamaWeights(config), { rank: 1, size: 4 })].map(([name, part]) => [
    name.replace('model.layers.0.', ''),
    partShape(part),
  ]);
  expect(Object.fromEntries(shapes)).toEqual({
    'model.embed_tokens.weight': [33, 64],
    'lm_head.weight': [33, 64],
    'model.norm.weight': [64],
    'input_layernorm.weight': [64],
    'post_attention_layernorm.weight': [64],
    'self_attn.q_proj.weight': [16, 64],
    'self_attn.q_proj.bias': [16],
    'self_attn.k_proj.weight': [16, 64],
    'self_attn.k_proj.bias': [16],
    'self_attn.v_proj.weight': [16, 64],
    'self_attn.v_proj.bias': [16],
    'self_attn.o_proj.weight': [64, 16],
    'self_attn.o_proj.bias': [64],
    'mlp.gate_proj.weight': [12, 64],
    'mlp.gate_proj.bias': [12],
    'mlp.up_proj.weight': [12, 64],
    'mlp.up_proj.bias': [12],
    'mlp.down_proj.weight': [64, 12],
    'mlp.down_proj.bias': [64],
  });
});
