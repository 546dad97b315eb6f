// Documents side by side, as a model's forward pass takes them for training and scoring.
import type { PackedContext } from '../../src/nn/context.js';
import type { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

/** The packed context of whole documents; its tensors belong to the scope it is called in. */
export function packed(device: Device, documents: readonly (readonly number[])[]): PackedContext {
  const ends = [0];
  for (const tokens of documents) ends.push(ends.at(-1)! + tokens.length);
  return {
    kind: 'packed',
    tokens: Tensor.from(device, Int32Array.from(documents.flat())),
    positions: Tensor.from(device, Int32Array.from(documents.flatMap((tokens) => [...tokens.keys()]))),
    cuSeqlens: Tensor.from(device, Int32Array.from(ends)),
  };
}
