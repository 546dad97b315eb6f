/** Which model family reads which `model_type`; loading and export ask here, nobody else knows the families. */
import { didYouMean, UserError } from '../src/errors.js';
import type { CausalLM } from '../src/nn/model.js';
import type { ModelWeights, WeightSpec } from '../src/nn/shard.js';
import { Llama, llamaConfig, llamaWeights } from './llama.js';

export interface ModelFamily {
  /** Names and shapes of the weights to load and how they are cut over ranks, and what builds the model from them. */
  prepare(config: Record<string, unknown>): {
    weights: Map<string, WeightSpec>;
    build(weights: ModelWeights): CausalLM;
  };
}

const families: Record<string, ModelFamily> = {
  llama: {
    prepare(source) {
      const config = llamaConfig(source);
      return { weights: llamaWeights(config), build: (weights) => new Llama(config, weights) };
    },
  },
};

/** @throws UserError for an unknown architecture, with the known ones. */
export function modelFamily(config: Record<string, unknown>): ModelFamily {
  const type = String(config.model_type ?? 'none');
  const family = Object.hasOwn(families, type) ? families[type] : undefined;
  if (!family)
    throw new UserError(
      `Unknown architecture '${type}'${didYouMean(type, Object.keys(families))}: this version runs ${Object.keys(families).join(', ')}`,
    );
  return family;
}
