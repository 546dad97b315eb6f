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
  /** Those of {@link LoadOptions.masters} as the file has them, f32, by name; the caller's to dispose. */
  masters: ReadonlyMap<string, Tensor>;
}

export interface LoadOptions {
  device: Device;
  /** Of weights and activations; default f32 on the CPU. */
  dtype?: 'f32' | 'bf16';
  /** Of all weights' names, those whose f32 values to keep where bf16 weights are rounded from them, for an optimizer. Default: none. */
  masters?: (names: readonly string[]) => readonly string[];
  /**
   * Called with each weight, and its master if it has one, as soon as its load is enqueued. What it evicts or disposes is not kept: with
   * it a rank holds one whole weight at a time. Default: all are kept.
   */
  place?: (name: string, weight: Tensor, master: Tensor | null) => void;
  /** What to change about its tokenizer and chat template. Tokens beyond the vocabulary get the mean embedding. */
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
    const kept = dtype === 'bf16' ? (options.masters?.([...shapes.keys()]) ?? []) : [];
    const { weights, masters } = await loadWeights(files, shapes, { ...options, dtype }, new Set(kept));
    return { model: build(weights), tokenizer: files.tokenizer, chatTemplate: files.chatTemplate, files, masters };
  } finally {
    files.weights.close();
  }
}

async function loadWeights(
  files: ModelFiles,
  shapes: Map<string, number[]>,
  { device, dtype, place }: LoadOptions & { dtype: 'f32' | 'bf16' },
  kept: ReadonlySet<string>,
): Promise<{ weights: Map<string, Tensor>; masters: Map<string, Tensor> }> {
  const entries = files.weights.entries();
  for (const [name, shape] of shapes) {
    const entry = entries.get(name);
    if (!entry)
      throw new UserError(
        `${files.path}: weight '${name}' is missing; the download may be incomplete, fetch the model again`,
      );
    if (entry.shape.join() !== shape.join() && !grows(files, name, entry.shape, shape))
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
  const masters = new Map<string, Tensor>();
  try {
    for (const [name, shape] of shapes) {
      const weight = Tensor.empty(device, shape, dtype);
      weights.set(name, weight);
      const master = kept.has(name) ? Tensor.empty(device, shape, 'f32') : null;
      if (master) masters.set(name, master);
      loadRows(files, name, entries.get(name)!.shape[0]!, master ?? weight);
      if (master) launch('copy', [master, weight]);
      place?.(name, weight, master);
      if (master?.disposed) masters.delete(name);
    }
    // Conversion runs on the stream; a failure (a file that shrank, say) shows when the poisoned tensor is read.
    for (const tensor of weights.values()) {
      if (tensor.evicted) continue;
      using first = tensor.narrow(0, 0, 1);
      await first.readBytes();
    }
    return { weights, masters };
  } catch (error) {
    for (const tensor of [...weights.values(), ...masters.values()]) tensor.dispose();
    throw error;
  }
}

/** Whether a table of the file lacks only the rows of added tokens. */
function grows(
  { textOptions }: ModelFiles,
  name: string,
  stored: readonly number[],
  wanted: readonly number[],
): boolean {
  const isVocabulary = /(^|\.)(embed_tokens|lm_head)\.weight$/.test(name);
  const sameWidth = stored.length === 2 && stored[1] === wanted[1] && stored[0]! < wanted[0]!;
  return textOptions.addedTokens !== undefined && isVocabulary && sameWidth;
}

/** Loads a weight of which the file has the first `rows`; the others become their mean. */
function loadRows(files: ModelFiles, name: string, rows: number, into: Tensor): void {
  const added = into.shape[0]! - rows;
  using stored = into.narrow(0, 0, rows);
  files.weights.load(name, stored);
  if (added === 0) return;
  using others = into.narrow(0, rows, added);
  using ones = Tensor.full(into.device, [added, rows], 1, into.dtype);
  launch('matmul', [ones, stored, others], [0, 0, 0, 1 / rows]);
}

// Tables that old checkpoints store and everybody computes, and a head that repeats tied embeddings.
function ignorable(name: string, shapes: Map<string, number[]>): boolean {
  return name.endsWith('rotary_emb.inv_freq') || (name === 'lm_head.weight' && !shapes.has(name));
}
