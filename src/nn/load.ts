import { modelFamily } from '../../models/registry.js';
import { UserError } from '../errors.js';
import type { Device } from '../tensor/device.js';
import { Tensor } from '../tensor/tensor.js';
import type { ChatTemplate } from '../text/chat_template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type ModelFiles, resolveModel } from '../weights/model_files.js';
import type { CausalLM } from './model.js';

export interface LoadedModel {
  model: CausalLM;
  tokenizer: Tokenizer | null;
  chatTemplate: ChatTemplate | null;
  files: ModelFiles;
}

export interface LoadOptions {
  device: Device;
  /** Of weights and activations; default f32 on the CPU. */
  dtype?: 'f32' | 'bf16';
}

/**
 * Loads a model: a directory as transformers writes it, a GGUF file, or a fetched name.
 * @throws UserError, one line with the remedy, for whatever is wrong with the files.
 */
export async function loadModel(name: string, options: LoadOptions): Promise<LoadedModel> {
  const files = await resolveModel(name);
  try {
    const { shapes, build } = modelFamily(files.config).prepare(files.config);
    const weights = await loadWeights(files, shapes, options.device, options.dtype ?? 'f32');
    return { model: build(weights), tokenizer: files.tokenizer, chatTemplate: files.chatTemplate, files };
  } finally {
    files.weights.close();
  }
}

async function loadWeights(
  files: ModelFiles,
  shapes: Map<string, number[]>,
  device: Device,
  dtype: 'f32' | 'bf16',
): Promise<Map<string, Tensor>> {
  const entries = files.weights.entries();
  for (const [name, shape] of shapes) {
    const entry = entries.get(name);
    if (!entry)
      throw new UserError(
        `${files.path}: weight '${name}' is missing; the download may be incomplete, fetch the model again`,
      );
    if (entry.shape.join() !== shape.join())
      throw new UserError(
        `${files.path}: Expected weight '${name}' to have shape [${shape.join(', ')}] by the config but the file has [${entry.shape.join(', ')}]`,
      );
  }
  const unused = [...entries.keys()].filter((name) => !shapes.has(name) && !ignorable(name, shapes));
  if (unused.length > 0)
    throw new UserError(
      `${files.path}: weights that the architecture does not have: ${unused.slice(0, 3).join(', ')}${unused.length > 3 ? ` and ${unused.length - 3} more` : ''}; is 'model_type' in its config right?`,
    );
  const weights = new Map<string, Tensor>();
  try {
    for (const [name, shape] of shapes) {
      const tensor = Tensor.empty(device, shape, dtype);
      weights.set(name, tensor);
      files.weights.load(name, tensor);
    }
    // Conversion runs on the stream; a failure (a file that shrank, say) shows when the poisoned tensor is read.
    for (const tensor of weights.values()) {
      using first = tensor.narrow(0, 0, 1);
      await first.readBytes();
    }
    return weights;
  } catch (error) {
    for (const tensor of weights.values()) tensor.dispose();
    throw error;
  }
}

// Tables that old checkpoints store and everybody computes, and a head that repeats tied embeddings.
function ignorable(name: string, shapes: Map<string, number[]>): boolean {
  return name.endsWith('rotary_emb.inv_freq') || (name === 'lm_head.weight' && !shapes.has(name));
}
