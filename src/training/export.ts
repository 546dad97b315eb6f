// A trained model as files that transformers, peft and vLLM load.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CausalLM } from '../nn/model.js';
import type { ModelFiles } from '../weights/model_files.js';
import { writeModelWeights } from '../weights/safetensors_writer.js';
import { saveAdapter } from './adapter_files.js';
import { writeFiles } from './atomic_folder.js';
import { expectRoom, tensorBytes, tensorsToWrite } from './checkpoint.js';
import type { TrainConfig } from './config.js';
import { adapterTensors } from './lora_modules.js';

/**
 * Writes model.safetensors (in shards if large; weights by their checkpoint names, in the model's dtype; tied weights once), config.json and the
 * tokenizer's files into `folder`. For a GGUF base these are what transformers would have.
 */
export async function exportModel(folder: string, model: CausalLM, files: ModelFiles): Promise<void> {
  const dtype = model.dtype === 'f32' ? 'float32' : 'bfloat16';
  // `dtype` is the name that transformers 5 reads, `torch_dtype` the one before.
  const config = { ...files.config, dtype, torch_dtype: dtype };
  await writeFiles(folder, 'config.json', async (temporary) => {
    await expectRoom(temporary, tensorBytes(model.weights));
    await writeModelWeights(temporary, tensorsToWrite(model.weights));
    await files.writeTokenizer(temporary);
    await writeFile(join(temporary, 'config.json'), `${JSON.stringify(config, null, 2)}\n`);
  });
}

/** Writes the adapter in PEFT's layout, with the tokenizer's files beside it. */
export async function exportAdapter(
  folder: string,
  model: CausalLM,
  files: ModelFiles,
  config: TrainConfig,
): Promise<void> {
  await writeFiles(folder, 'adapter_config.json', async (temporary) => {
    await expectRoom(temporary, tensorBytes(adapterTensors(model)));
    await files.writeTokenizer(temporary);
    await saveAdapter(temporary, model, config.lora, files.format === 'gguf' ? files.name : files.path);
  });
}
