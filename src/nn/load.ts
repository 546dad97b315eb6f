import { modelFamily } from '../../models/registry.js';
import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import { shardVocabulary } from '../ops/parallel.js';
import type { QuantisedWeight } from '../ops/quantised.js';
import type { Device } from '../tensor/device.js';
import { defaultDtype } from '../tensor/dtype.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';
import type { ChatTemplate } from '../text/chat_template.js';
import type { TextOptions } from '../text/text_options.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { type ModelFiles, resolveModel } from '../weights/model_files.js';
import { expectQuantised, loadQuantised } from './load_quantised.js';
import type { CausalLM } from './model.js';
import { type Quantisation, quantisationOf } from './quantisation.js';
import { type Part, partShape, partStart, partsOf, type WeightSpec } from './shard.js';

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
  /** Of weights and activations; default f32 on the CPU, bf16 on a GPU. */
  dtype?: 'f32' | 'bf16';
  /** Of all weights' names, those whose f32 values to keep where bf16 weights are rounded from them, for an optimizer. Default: none. */
  masters?: (names: readonly string[]) => readonly string[];
  /**
   * Called with each weight, and its master if it has one, as soon as its load is enqueued. What it evicts or disposes is not kept: with
   * it a rank holds one whole weight at a time. Default: all are kept.
   */
  place?: (name: string, weight: Tensor, master: Tensor | null) => void;
  /** The elements that `place` looks at in a weight of so many: of a file only the rows that hold them are read. Default: all. */
  looksAt?: (elements: number) => { first: number; count: number };
  /** What to change about its tokenizer and chat template. Tokens beyond the vocabulary get the mean embedding. */
  text?: TextOptions;
  /** Quantised weights become plain ones, which can be trained and written. Default: they stay as they are, and `place` does not see them. */
  dequantise?: boolean;
  /** Ranks that hold the model together: this one reads its part of the files alone. Default: all on this one. */
  group?: Communicator | null;
}

/**
 * Loads a model: a directory as transformers writes it, a GGUF file, or a fetched name.
 * @throws UserError, one line with the remedy, for whatever is wrong with the files.
 */
export async function loadModel(name: string, options: LoadOptions): Promise<LoadedModel> {
  const files = await resolveModel(name, options.text);
  try {
    const { weights: specs, build } = modelFamily(files.config).prepare(files.config);
    const { dtype = defaultDtype(options.device.name), group = null } = options;
    const quantisation = quantisationOf(files.config);
    expectWeights(files, specs, quantisation);
    const parts = partsOf(specs, group ?? { rank: 0, size: 1 });
    const kept = dtype === 'bf16' ? (options.masters?.([...specs.keys()]) ?? []) : [];
    const covered = [...specs].filter(([name, spec]) => quantisation?.covers(name, spec)).map(([name]) => name);
    const stays = { kept: new Set(kept), form: quantisation?.form ?? null, quantised: new Set(covered) };
    const { tensors, masters, quantised } = await loadWeights(files, parts, { ...options, dtype, group }, stays);
    return {
      model: build({ tensors, parts, quantised, group }),
      tokenizer: files.tokenizer,
      chatTemplate: files.chatTemplate,
      files,
      masters,
    };
  } finally {
    files.weights.close();
  }
}

/** @throws UserError for weights of the file that are not those of the architecture. */
function expectWeights(
  files: ModelFiles,
  specs: ReadonlyMap<string, WeightSpec>,
  quantisation: Quantisation | null,
): void {
  const entries = files.weights.entries();
  const stored = new Set<string>();
  for (const [name, spec] of specs) {
    const { shape } = spec;
    if (quantisation?.covers(name, spec)) {
      for (const each of expectQuantised(files, quantisation.form, name, shape)) stored.add(each);
      continue;
    }
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
  const unused = [...entries.keys()].filter((name) => !specs.has(name) && !stored.has(name) && !ignorable(name, specs));
  if (unused.length > 0)
    throw new UserError(
      `${files.path}: weights that the architecture does not have: ${unused.slice(0, 3).join(', ')}${unused.length > 3 ? ` and ${unused.length - 3} more` : ''}; is 'model_type' in its config right?`,
    );
}

/** Which weights keep f32 values beside them, and which are stored in which form. */
interface Stays {
  readonly kept: ReadonlySet<string>;
  readonly form: Quantisation['form'] | null;
  readonly quantised: ReadonlySet<string>;
}

interface Loaded {
  readonly tensors: Map<string, Tensor>;
  readonly masters: Map<string, Tensor>;
  readonly quantised: Map<string, QuantisedWeight>;
}

async function loadWeights(
  files: ModelFiles,
  parts: ReadonlyMap<string, Part>,
  {
    device,
    dtype,
    group,
    place,
    looksAt,
    dequantise = false,
  }: LoadOptions & { dtype: 'f32' | 'bf16'; group: Communicator | null },
  { kept, form, quantised: covered }: Stays,
): Promise<Loaded> {
  const entries = files.weights.entries();
  const tensors = new Map<string, Tensor>();
  const masters = new Map<string, Tensor>();
  const quantised = new Map<string, QuantisedWeight>();
  try {
    for (const [name, part] of parts) {
      if (form !== null && covered.has(name)) {
        const weight = loadQuantised(files, form, name, part, device);
        if (!dequantise) quantised.set(name, weight);
        else tensors.set(name, weight.dequantise(dtype));
        if (dequantise) weight.dispose();
        continue;
      }
      const shape = partShape(part);
      const weight = Tensor.empty(device, shape, dtype);
      tensors.set(name, weight);
      const master = kept.has(name) ? Tensor.empty(device, shape, 'f32') : null;
      if (master) masters.set(name, master);
      loadPart(files, name, { part, storedRows: entries.get(name)!.shape[0]!, group, looksAt }, master ?? weight);
      if (master) launch('copy', [master, weight]);
      if (group && part.kind === 'vocabulary')
        shardVocabulary(weight, { group, first: part.start, vocabulary: part.whole[0]! });
      place?.(name, weight, master);
      if (master?.disposed) masters.delete(name);
    }
    // Conversion runs on the stream; a failure (a file that shrank, say) shows when the poisoned tensor is read.
    for (const tensor of [...tensors.values(), ...[...quantised.values()].map(({ data }) => data)]) {
      if (tensor.evicted) continue;
      using first = tensor.narrow(0, 0, 1);
      await first.readBytes();
    }
    return { tensors, masters, quantised };
  } catch (error) {
    for (const tensor of [...tensors.values(), ...masters.values(), ...quantised.values()]) tensor.dispose();
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

interface PartToLoad {
  readonly part: Part;
  readonly storedRows: number;
  readonly group: Communicator | null;
  readonly looksAt: LoadOptions['looksAt'];
}

/** Loads a part of a weight of which the file has the first `storedRows`; the others become their mean. */
function loadPart(
  files: ModelFiles,
  name: string,
  { part, storedRows, group, looksAt }: PartToLoad,
  into: Tensor,
): void {
  const rows = into.shape[0]!;
  if (looksAt && storedRows === part.whole[0]) {
    const columns = into.size / rows;
    const { first, count } = looksAt(into.size);
    const [from, to] = [Math.floor(first / columns), Math.ceil((first + count) / columns)];
    if (count === 0) return;
    using wanted = into.narrow(0, from, to - from);
    const [row = 0, ...rest] = partStart(part);
    files.weights.load(name, wanted, [row + from, ...rest]);
    return;
  }
  const first = part.axis === 0 ? part.start : 0;
  const here = Math.min(Math.max(storedRows - first, 0), rows);
  using stored = into.narrow(0, 0, here);
  if (here > 0) files.weights.load(name, stored, partStart(part));
  if (storedRows === part.whole[0]) return;
  using mean = Tensor.zeros(into.device, [1, part.whole[1]!]);
  if (here > 0) {
    using ones = Tensor.full(into.device, [1, here], 1, into.dtype);
    launch('matmul', [ones, stored, mean], [0, 0, 0, 1 / storedRows]);
  }
  group?.allReduce(mean);
  for (let row = here; row < rows; row += 1) {
    using added = into.narrow(0, row, 1);
    launch('copy', [mean, added]);
  }
}

// Tables that old checkpoints store and everybody computes, and a head that repeats tied embeddings.
function ignorable(name: string, specs: ReadonlyMap<string, unknown>): boolean {
  return name.endsWith('rotary_emb.inv_freq') || (name === 'lm_head.weight' && !specs.has(name));
}
