// Inverse frequencies and attention factors against transformers', at the sizes of real models.
import { describe, expect, it } from 'vitest';
import { ropeOf } from '../../src/nn/rope.js';
import { goldenJson } from '../support/fixtures.js';

interface GoldenRope {
  headDim: number;
  maxPositionEmbeddings: number;
  ropeParameters: Record<string, unknown>;
  inverseFrequencies: number[];
  attentionFactor: number;
}

const golden = Object.entries(goldenJson<Record<string, GoldenRope>>('rope.json'));

function expectRope(config: Record<string, unknown>, row: GoldenRope): void {
  const { inverseFrequencies, attentionFactor } = ropeOf(config, row.headDim);
  expect(inverseFrequencies.length).toBe(row.inverseFrequencies.length);
  // The same bits, but where torch's f32 power is not the nearest f32: then one unit in the last place.
  const errors = row.inverseFrequencies.map((expected, i) =>
    Math.abs(inverseFrequencies[i]! / Math.fround(expected) - 1),
  );
  expect(Math.max(...errors)).toBeLessThan(2 ** -23);
  expect(errors.filter((error) => error > 0).length).toBeLessThanOrEqual(errors.length / 16);
  expect(attentionFactor).toBeCloseTo(row.attentionFactor, 12);
}

describe.each(golden)('rotary settings %s', (_name, row) => {
  const { ropeParameters, maxPositionEmbeddings: max_position_embeddings } = row;

  it('agree in the new spelling, rope_parameters', () => {
    expectRope({ max_position_embeddings, rope_parameters: ropeParameters }, row);
  });

  it('agree in the old spelling, rope_theta and rope_scaling', () => {
    const { rope_theta, ...scaling } = ropeParameters;
    const rope_scaling = scaling.rope_type === 'default' ? null : scaling;
    expectRope({ max_position_embeddings, rope_theta, rope_scaling }, row);
  });

  it('agree in the oldest spelling, with `type` for `rope_type`', () => {
    const { rope_theta, rope_type: type, ...scaling } = ropeParameters;
    expectRope({ max_position_embeddings, rope_theta, rope_scaling: { type, ...scaling } }, row);
  });
});

it.each(['spiral', 'constructor'])('a type that nobody knows is refused with those that are known: %s', (rope_type) => {
  expect(() => ropeOf({ rope_parameters: { rope_type } }, 64)).toThrow(
    `Expected a rope type of default, linear, llama3, yarn but the model's config has '${rope_type}'`,
  );
});
