// A trained model as files that transformers, peft and vLLM load.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CausalLM } from '../nn/model.js';
import { dtypeSize } from '../tensor/dtype.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';
import type { ModelFiles } from '../weights/model_files.js';
import { inFileOrder, type TensorToWrite, tensorToWrite, writeModelWeights } from '../weights/safetensors_writer.js';
import { adapterFileTensors, saveAdapter } from './adapter_files.js';
import { writeFiles } from './atomic_folder.js';
import { expectRoom, tensorBytes } from './checkpoint.js';
import type { TrainConfig } from './config.js';
import type { Shards } from './fully_sharded.js';
import { adapterTensors } from './lora_modules.js';
import { savedTensors } from './saved_modules.js';
import { wholeToWrite } from './tensor_parallel.js';

/**
 * Writes model.safetensors (in shards if large; weights by their checkpoint names; tied weights once), config.json and the
 * tokenizer's files into `folder`. For a GGUF base these are what transformers would have.
 *
 * @param shards where every rank keeps a part of the weights: the first one writes them, one at a time, while the others
 *   {@link takePartInExport}
 * @param storedAs of the weights; default the model's dtype
 */
export async function exportModel(
  folder: string,
  model: CausalLM,
  files: ModelFiles,
  { shards = null, storedAs = model.dtype }: { shards?: Shards | null; storedAs?: 'f32' | 'bf16' } = {},
): Promise<void> {
  const dtype = storedAs === 'f32' ? 'float32' : 'bfloat16';
  // `dtype` is the name that transformers 5 reads, `torch_dtype` the one before. What is written is never quantised.
  const { quantization_config: _, ...plain } = files.config;
  const config = { ...plain, dtype, torch_dtype: dtype };
  await writeFiles(folder, 'config.json', async (temporary) => {
    const tensors = modelTensors(model, shards, storedAs);
    const elements = [...model.parts.values()].reduce((sum, { whole }) => sum + whole.reduce((a, b) => a * b, 1), 0);
    await expectRoom(temporary, elements * dtypeSize[storedAs]);
    await writeModelWeights(temporary, tensors);
    await files.writeTokenizer(temporary);
    await writeFile(join(temporary, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  });
}

/** The weights as they are written. Where ranks hold the model together, reading one is collective. */
function modelTensors(model: CausalLM, shards: Shards | null, storedAs: 'f32' | 'bf16'): TensorToWrite[] {
  return inOrder(model).map(([name, weight]) => {
    const convert = (whole: Tensor) => convertedToWrite(name, whole, storedAs);
    const whole = wholeToWrite(name, weight, model.parts.get(name), model.group, convert);
    const sharded = shards?.tensors.get(name);
    return sharded ? { ...whole, read: () => sharded.gathered(whole.read) } : whole;
  });
}

/** By name, which is the order in which the writer reads tensors of one dtype. */
function inOrder(model: CausalLM): [string, Tensor][] {
  return [...model.weights].sort(([a], [b]) => (a < b ? -1 : Number(a > b)));
}

/** What the other ranks do while the first one calls {@link exportModel}. */
export function takePartInExport(model: CausalLM, shards: Shards): void {
  for (const [name] of inOrder(model)) {
    const sharded = shards.tensors.get(name)!;
    sharded.gather();
    sharded.release();
  }
}

/**
 * The same for ranks that hold the model together with the first one, while that calls {@link exportModel} or {@link exportAdapter}.
 */
export async function giveParts(model: CausalLM, { method, lora }: TrainConfig, shards: Shards | null): Promise<void> {
  const tensors =
    method === 'lora' ? adapterFileTensors(model, lora.modulesToSave) : modelTensors(model, shards, model.dtype);
  for (const { read } of inFileOrder(tensors)) await read();
}

function convertedToWrite(name: string, weight: Tensor, storedAs: 'f32' | 'bf16'): TensorToWrite {
  if (weight.dtype === storedAs) return tensorToWrite(name, weight);
  const read = () => {
    using converted = Tensor.empty(weight.device, weight.shape, storedAs);
    launch('copy', [weight, converted]);
    return converted.readBytes();
  };
  return { name, dtype: storedAs === 'f32' ? 'F32' : 'BF16', shape: weight.shape, read };
}

/** Writes the adapter in PEFT's layout, with the tokenizer's files beside it. */
export async function exportAdapter(
  folder: string,
  model: CausalLM,
  files: ModelFiles,
  config: TrainConfig,
): Promise<void> {
  await writeFiles(folder, 'adapter_config.json', async (temporary) => {
    const trained = [adapterTensors(model), savedTensors(model, config.lora.modulesToSave)];
    await expectRoom(
      temporary,
      trained.reduce((sum, tensors) => sum + tensorBytes(tensors), 0),
    );
    await files.writeTokenizer(temporary);
    await saveAdapter(temporary, model, config.lora, files.format === 'gguf' ? files.name : files.path);
  });
}
