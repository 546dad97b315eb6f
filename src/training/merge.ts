// An adapter added into its base: a full model as transformers and vLLM load it.

import { resolve } from 'node:path';
import { UserError } from '../errors.js';
import { loadModel } from '../nn/load.js';
import { quantisationOf } from '../nn/quantisation.js';
import type { WeightForm } from '../ops/quantised.js';
import { Device } from '../tensor/device.js';
import { launch } from '../tensor/launch.js';
import { adapterTokens, loadAdapter } from './adapter_files.js';
import { exportModel } from './export.js';
import { removeAdapters } from './lora_modules.js';

export interface MergeOptions {
  /** The base: a folder, a GGUF file or a fetched name. */
  readonly model: string;
  /** A folder in PEFT's layout. */
  readonly adapter: string;
  /** The folder to write. */
  readonly output: string;
  /** Of the weights written; default: what the base's config says, f32 if it says nothing else than bfloat16. */
  readonly dtype?: 'f32' | 'bf16' | undefined;
  readonly threads?: number | undefined;
}

export interface Merged {
  /** That the adapter changed. */
  readonly layers: number;
  /** How the base's linear layers are stored, which are plain numbers in what was written. */
  readonly dequantised: WeightForm | null;
}

/**
 * Writes W + scale · B · A for every adapted layer, computed in f32 and rounded once, and every other weight as it is; quantised
 * weights as numbers, as rounding the sum to so few bits would undo much of what was trained.
 * @throws {UserError} one line with the remedy: no adapter there, one of another model, a full disk
 */
export async function mergeAdapter(options: MergeOptions): Promise<Merged> {
  const output = resolve(options.output);
  if ([options.model, options.adapter].some((source) => resolve(source) === output)) {
    throw new UserError(`${options.output}: Expected a folder of its own for the merged model; choose another`);
  }
  const device = Device.open('cpu', options.threads === undefined ? {} : { threads: options.threads });
  try {
    const addedTokens = await adapterTokens(options.adapter);
    const { model, files } = await loadModel(options.model, {
      device,
      dtype: 'f32',
      text: { addedTokens },
      dequantise: true,
    });
    await loadAdapter(options.adapter, model);
    let layers = 0;
    for (const [name, { adapter }] of model.linears) {
      if (adapter === null) continue;
      launch('matmul', [adapter.b, adapter.a, model.weights.get(`${name}.weight`)!], [0, 0, 1, adapter.scale]);
      ++layers;
    }
    removeAdapters(model);
    const own = files.config.dtype ?? files.config.torch_dtype;
    const storedAs = options.dtype ?? (own === 'bfloat16' ? 'bf16' : 'f32');
    await exportModel(output, model, files, { storedAs });
    return { layers, dequantised: quantisationOf(files.config)?.form ?? null };
  } finally {
    await device.close();
  }
}
