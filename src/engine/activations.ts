import type { CausalLM } from '../nn/model.js';
import { dtypeSize } from '../tensor/dtype.js';

/**
 * Bytes, about, that a forward pass makes beside weights and cache: of T tokens in one layer, where each linear layer's input and output
 * is there at once and the residual stream in three places; or, if that is more, the logits of the sampled rows.
 *
 * @param tokens T, most tokens of a step.
 * @param rows most of them that are sampled.
 */
export function activationBytes(
  { config, dtype, linears }: Pick<CausalLM, 'config' | 'dtype' | 'linears'>,
  tokens: number,
  rows: number,
): number {
  const { hiddenSize, numLayers, vocabSize } = config;
  let widths = 0;
  for (const { weight } of linears.values()) widths += weight.shape[0]! + weight.shape[1]!;
  const layer = tokens * (widths / numLayers + 3 * hiddenSize) * dtypeSize[dtype];
  const head =
    tokens * hiddenSize * dtypeSize[dtype] + rows * (vocabSize * dtypeSize.f32 + hiddenSize * dtypeSize[dtype]);
  return Math.ceil(Math.max(layer, head));
}
