/**
 * Inverse frequencies of rotary embeddings and their extensions to longer contexts, as transformers defines them:
 * default (Su et al. 2021), linear (Chen et al. 2023), llama3 (Dubey et al. 2024), YaRN (Peng et al. 2023).
 *
 * Rounded to f32 after every operation, in transformers' order, so that the frequencies are the same bits: a difference of
 * one unit in the last place, times a position of some thousands, is an angle that shows in the logits.
 */
import { UserError } from '../errors.js';

export interface Rope {
  /** [R/2], R the rotated dimensions of a head. */
  inverseFrequencies: Float32Array;
  /** Multiplies cosines and sines. */
  attentionFactor: number;
}

type Settings = Record<string, unknown>;

/**
 * @param config of the model, with `rope_parameters` (new) or `rope_scaling` and `rope_theta` (old).
 * @throws UserError for a rope type nobody here knows.
 */
export function ropeOf(config: Settings, headDim: number): Rope {
  const settings: Settings = {
    ...((config.rope_scaling as Settings | null) ?? {}),
    ...((config.rope_parameters as Settings | null) ?? {}),
  };
  const type = String(settings.rope_type ?? settings.type ?? 'default');
  const theta = number(settings.rope_theta ?? config.rope_theta, 10000);
  const partial = number(settings.partial_rotary_factor ?? config.partial_rotary_factor, 1);
  if (!(partial > 0 && partial <= 1))
    throw new UserError(
      `Expected 'partial_rotary_factor' to be above 0 and at most 1 but the model's config has ${partial}`,
    );
  const dimensions = 2 * Math.floor((headDim * partial) / 2);
  const periods = Float32Array.from({ length: dimensions / 2 }, (_, index) => theta ** f32((2 * index) / dimensions));
  const base = periods.map((period) => 1 / period);
  const maxPositions = number(config.max_position_embeddings, 2048);
  const variants: Record<string, () => { frequencies: Float32Array; attentionFactor?: number }> = {
    default: () => ({ frequencies: base }),
    linear: () => ({ frequencies: base.map((frequency) => frequency / required(settings, 'factor', type)) }),
    llama3: () => ({ frequencies: llama3(base, settings) }),
    yarn: () => yarn(periods, settings, theta, dimensions, maxPositions),
  };
  const variant = Object.hasOwn(variants, type) ? variants[type] : undefined;
  if (!variant)
    throw new UserError(
      `Expected a rope type of ${Object.keys(variants).join(', ')} but the model's config has '${type}'`,
    );
  const { frequencies, attentionFactor } = variant();
  return { inverseFrequencies: frequencies, attentionFactor: attentionFactor ?? 1 };
}

// Long wavelengths are slowed by the factor, short ones kept, those between blended.
function llama3(base: Float32Array, settings: Settings): Float32Array {
  const [factor, low, high, original] = [
    'factor',
    'low_freq_factor',
    'high_freq_factor',
    'original_max_position_embeddings',
  ].map((key) => required(settings, key, 'llama3')) as [number, number, number, number];
  return base.map((frequency) => {
    const wavelength = f32(f32(1 / frequency) * f32(2 * Math.PI));
    if (wavelength > original / low) return frequency / factor;
    if (wavelength < original / high) return frequency;
    const smooth = f32(f32(f32(f32(1 / wavelength) * original) - low) / (high - low));
    return f32(f32(f32(1 - smooth) * frequency) / factor) + f32(smooth * frequency);
  });
}

function yarn(periods: Float32Array, settings: Settings, theta: number, dimensions: number, maxPositions: number) {
  const original = number(settings.original_max_position_embeddings, maxPositions);
  const factor = number(settings.factor, maxPositions / original);
  const magnitude = (scale: number): number => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  const [mscale, mscaleAll] = [number(settings.mscale, 0), number(settings.mscale_all_dim, 0)];
  const ownFactor = mscale && mscaleAll ? magnitude(mscale) / magnitude(mscaleAll) : magnitude(1);
  // The dimension whose wave turns `turns` times over the original context.
  const dimension = (turns: number): number =>
    (dimensions * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  let low = dimension(number(settings.beta_fast, 32));
  let high = dimension(number(settings.beta_slow, 1));
  if (settings.truncate !== false) [low, high] = [Math.floor(low), Math.ceil(high)];
  low = Math.max(low, 0);
  high = Math.min(high, dimensions - 1);
  if (low === high) high += 0.001;
  const frequencies = periods.map((period, index) => {
    const interpolated = Math.min(1, Math.max(0, f32(f32(index - f32(low)) / f32(high - low))));
    const kept = f32(1 - interpolated);
    return f32(f32(1 / f32(factor * period)) * f32(1 - kept)) + f32(f32(1 / period) * kept);
  });
  return { frequencies, attentionFactor: number(settings.attention_factor, ownFactor) };
}

const f32 = Math.fround;

function number(value: unknown, fallback: number): number {
  return typeof value === 'number' ? value : fallback;
}

function required(settings: Settings, key: string, type: string): number {
  const value = settings[key];
  if (typeof value !== 'number')
    throw new UserError(`Expected '${key}' in the rope settings of a model with rope type '${type}'`);
  return value;
}
