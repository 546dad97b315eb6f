import { modelFamily } from '../../models/registry.js';
import { UserError } from '../errors.js';
import type { Device } from '../tensor/device.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';
import type { ChatTemplate } from '../text/chat_template.js';
import type { TextOptions } from '../text/text_options.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type ModelFiles, resolveModel } from '../weights/model_files.js';
import type { CausalLM } from './model.js';

export interface LoadedModel {
  model: CausalLM;
  tokenizer: Tokenizer | null;
  chatTemplate: ChatTemplate | null;
  files: ModelFiles;
  /** With {@link LoadOptions.masters}: every weight as the file has it, f32, by name; the caller's to dispose. */
  masters: ReadonlyMap<string, Tensor> | null;
}

export interface LoadOptions {
  device: Device;
  /** Of weights and activations; default f32 on the CPU. */
  dtype?: 'f32' | 'bf16';
  /** Keep the f32 values that bf16 weights are rounded from, for an optimizer to start from. Default: false. */
  masters?: boolean;
  /** What to change about its tokenizer and chat template. */
  text?: TextOptions;
}

/**
 * Loads a model: a directory as transformers writes it, a GGUF file, or a fetched name.
 * @throws UserError, one line with the remedy, for whatever is wrong with the files.
 */
export async function loadModel(name: string, options: LoadOptions): Promise<LoadedModel> {
  const files = await resolveModel(name, options.text);
  try {
    const { shapes, build } = modelFamily(files.config).prepare(files.config);
    const dtype = options.dtype ?? 'f32';
    const masters =
      options.masters && dtype === 'bf16' ? await loadWeights(files, shapes, options.device, 'f32') : null;
    const weights = masters ? roundAll(masters) : await loadWeights(files, shapes, options.device, dtype);
    return { model: build(weights), tokenizer: files.tokenizer, chatTemplate: files.chatTemplate, files, masters };
  } finally {
    files.weights.close();
  }
}

/** bf16 copies of f32 tensors. */
function roundAll(masters: ReadonlyMap<string, Tensor>): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  for (const [name, master] of masters) {
    const weight = master.like('bf16');
    launch('copy', [master, weight]);
    weights.set(name, weight);
  }
  return weights;
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
