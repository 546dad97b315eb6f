// How much of what the machine can do a step uses: model FLOP utilisation (Chowdhery et al., "PaLM", 2022, appendix B).

import { native } from '../native.js';
import type { CausalLM } from '../nn/model.js';
import { Device } from '../tensor/device.js';
import { Tensor } from '../tensor/tensor.js';
import type { Window } from './packing.js';

/**
 * The matrix products that a window needs, forward and backward, in floating-point operations. Per token 2 for every element of a
 * matrix forward, 2 for the gradient of its input and, where it is trained, 2 for its own: 6N, or 4N and the adapters' with LoRA.
 * The head counts for trained tokens alone. Causal attention within documents: 2·H·D·L·(L + 1) a layer forward, 2.5 times that
 * backward. What checkpointing computes again does not count.
 * @param lengths tokens of each document
 */
export function windowFlops(model: CausalLM, window: Window, lengths: ArrayLike<number>): number {
  const { numLayers, numHeads, headDim, vocabSize, hiddenSize } = model.config;
  const perToken = [...model.linears.values()].reduce((sum, { weight, part, adapter }) => {
    const [outputs, inputs] = part.whole as [number, number];
    const adapted = adapter ? adapter.a.shape[0]! * (inputs + outputs) : 0;
    return sum + flopsOf(weight) * outputs * inputs + (adapter ? flopsOf(adapter.a) * adapted : 0);
  }, 0);
  let pairs = 0;
  for (const { packs } of window.microBatches)
    for (const pack of packs) for (const index of pack.documents) pairs += lengths[index]! * (lengths[index]! + 1);
  const attention = 3.5 * 2 * numLayers * numHeads * headDim * pairs;
  return window.tokens * perToken + window.trained * flopsOf(model.outputWeight) * vocabSize * hiddenSize + attention;
}

/** For every element of a matrix. */
function flopsOf(matrix: Pick<Tensor, 'requiresGrad'>): number {
  return matrix.requiresGrad ? 6 : 4;
}

/**
 * The rate of multiply-adds of `dtype` that a CPU device reaches with data in registers, in floating-point operations a second,
 * measured in about 0.1 s; null for a device that has no such measurement.
 */
export async function measurePeak(name: string, threads: number, dtype: 'f32' | 'bf16'): Promise<number | null> {
  if (name !== 'cpu') return null;
  const device = Device.open(name, { threads });
  try {
    using result = Tensor.empty(device, [8], 'u8');
    // A machine without bf16 instructions multiplies in f32, and says 0.
    for (const rate of dtype === 'bf16' ? ([1, 0] as const) : ([0] as const)) {
      native.measureRate(device.id, result.handle, rate);
      const [peak = 0] = new Float64Array((await result.readBytes()).buffer as ArrayBuffer);
      if (peak > 0) return peak;
    }
    return null;
  } finally {
    await device.close();
  }
}
