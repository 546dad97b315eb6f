/** A model's files on disk, understood: a folder as transformers writes it, a GGUF file, or a fetched name. */
import { copyFile, readdir, readFile, stat } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { didYouMean, UserError } from '../errors.js';
import { ggufTokenizerFiles } from '../text/gguf_tokenizer.js';
import type { TextOptions } from '../text/text_options.js';
import type { TokenizerConfig, TokenizerJson } from '../text/tokenizer.js';
import { cachedModelPath, catalogue } from './catalogue.js';
import { fingerprintFiles } from './fingerprint.js';
import { frequencyTensor, ggufConfig, ggufTensorName, permutedHeads } from './gguf_config.js';
import { expectInside } from './inside.js';
import { describeText, type ModelText } from './model_text.js';
import { openWeightFile, readF32, WeightFiles, type WeightSource } from './weight_source.js';

export type { WeightSource } from './weight_source.js';

export interface ModelFiles extends ModelText {
  /** The folder or the GGUF file. */
  path: string;
  /** For tables and file names: the last part of the path, or the name it was fetched by. */
  name: string;
  format: 'safetensors' | 'gguf';
  /** As config.json has it, for GGUF files too; `vocab_size` grown where added tokens need it. */
  config: Record<string, unknown>;
  /** Open until `weights.close()`. */
  weights: WeightSource;
  /** generation_config.json; empty when there is none. */
  generationConfig: Record<string, unknown>;
  /** Changes when configuration, tokenizer or weights do. 64 hexadecimal digits. */
  fingerprint: string;
  /** Where the weights lie. */
  weightPaths: readonly string[];
  /** Writes tokenizer and chat template, changed as they may be, and generation settings into a folder, as transformers reads them. */
  writeTokenizer(folder: string): Promise<void>;
}

/**
 * @param model path of a folder or a .gguf file, or a name such as `smollm2-135m-instruct`
 * @param text what to change about its tokenizer and chat template
 * @throws UserError, one line with the remedy, when the files are missing, truncated or not understood
 */
export async function resolveModel(model: string, text: TextOptions = {}): Promise<ModelFiles> {
  const status = await stat(model).catch(() => null);
  if (status?.isDirectory()) return openFolder(resolve(model), text);
  if (status !== null) {
    if (model.endsWith('.safetensors'))
      throw new UserError(
        `Expected a model folder or a .gguf file but received the file ${model}; name the folder it lies in`,
      );
    return openGguf(resolve(model), basename(model, '.gguf'), text);
  }
  const known = Object.keys(catalogue);
  if (!known.includes(model))
    throw new UserError(
      `Expected a model folder, a .gguf file or one of ${known.join(', ')} but there is no '${model}'${didYouMean(model, known)}`,
    );
  const path = cachedModelPath(model);
  if ((await stat(path).catch(() => null)) === null)
    throw new UserError(
      `The model ${model} is not on this machine; get it with \`compress-distill models fetch ${model}\``,
    );
  return openGguf(path, model, text);
}

async function openFolder(folder: string, options: TextOptions): Promise<ModelFiles> {
  const names = new Set(await readdir(folder));
  await expectInside(folder, ['config.json', ...tokenizerFiles, singleFile, indexFile]);
  if (!names.has('config.json')) {
    const gguf = [...names].find((name) => name.endsWith('.gguf'));
    throw new UserError(
      names.has('adapter_config.json')
        ? `${folder} holds an adapter, not a model; name the model it was trained on`
        : `${folder} holds no config.json; name ${gguf === undefined ? 'a folder with config.json and model.safetensors' : `the file ${join(folder, gguf)}`}`,
    );
  }
  const json = async (name: string): Promise<Record<string, unknown>> =>
    names.has(name) ? readJson(join(folder, name)) : {};
  const config = await json('config.json');
  const generationConfig = await json('generation_config.json');
  const tokenizerConfig = (await json('tokenizer_config.json')) as TokenizerConfig;
  const template = names.has('chat_template.jinja')
    ? await readFile(join(folder, 'chat_template.jinja'), 'utf8')
    : defaultTemplate(tokenizerConfig.chat_template ?? (await json('chat_template.json')).chat_template);
  const { text, write } = await describeText(
    {
      json: names.has('tokenizer.json') ? ((await json('tokenizer.json')) as TokenizerJson) : null,
      config: tokenizerConfig,
      template,
      eosTokenIds: tokenIds(generationConfig.eos_token_id ?? config.eos_token_id),
      tokenizerPath: join(folder, 'tokenizer.json'),
      templatePath: folder,
    },
    options,
  );
  const changed = Object.keys(text.textOptions).length > 0;
  const weights = new WeightFiles(folder);
  try {
    const shards = await openShards(folder, names, weights);
    const described = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];
    return {
      path: folder,
      name: basename(folder),
      format: 'safetensors',
      config: grownConfig(config, text),
      weights,
      ...text,
      generationConfig,
      fingerprint: await fingerprintFiles(
        [...described.filter((name) => names.has(name)), ...shards].map((name) => join(folder, name)),
      ),
      weightPaths: shards.map((name) => join(folder, name)),
      async writeTokenizer(target) {
        for (const name of names)
          if (tokenizerFiles.has(name) && !(changed && name === 'chat_template.json'))
            await copyFile(join(folder, name), join(target, name));
        if (changed) await write(target);
      },
    };
  } catch (error) {
    weights.close();
    throw error;
  }
}

const tokenizerFiles = new Set([
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
]);

const singleFile = 'model.safetensors';
const indexFile = `${singleFile}.index.json`;

/** Opens model.safetensors, or the shards that its index names. @returns their names */
async function openShards(folder: string, names: ReadonlySet<string>, weights: WeightFiles): Promise<string[]> {
  const [single, indexName] = [singleFile, indexFile];
  if (names.has(single)) {
    const file = openWeightFile(join(folder, single));
    weights.own(file);
    for (const [entry, { name }] of file.entries.entries()) weights.add(name, file, entry);
    return [single];
  }
  if (!names.has(indexName)) {
    const pickled = [...names].some((name) => /\.(bin|pt|pth)$/.test(name));
    throw new UserError(
      `${folder} holds no ${single} and no ${indexName}; ${pickled ? 'save the model as safetensors' : 'the download may be incomplete, fetch the model again'}`,
    );
  }
  const indexPath = join(folder, indexName);
  const map = (await readJson(indexPath)).weight_map;
  if (typeof map !== 'object' || map === null)
    throw new UserError(`${indexPath}: Expected 'weight_map' to be an object; fetch the model again`);
  const tensorsOfShard = new Map<string, string[]>();
  for (const [tensor, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !resolve(folder, shard).startsWith(folder + sep))
      throw new UserError(
        `${indexPath}: Expected the file of '${tensor}' to lie in the folder but received ${JSON.stringify(shard)}; do not use this model`,
      );
    tensorsOfShard.set(shard, [...(tensorsOfShard.get(shard) ?? []), tensor]);
  }
  await expectInside(folder, tensorsOfShard.keys());
  for (const [shard, tensors] of tensorsOfShard) {
    const file = openWeightFile(join(folder, shard));
    weights.own(file);
    const entryOf = new Map(file.entries.map(({ name }, entry) => [name, entry]));
    for (const tensor of tensors) {
      const entry = entryOf.get(tensor);
      if (entry === undefined)
        throw new UserError(
          `${file.path}: tensor '${tensor}' is missing, which the index places here; fetch the model again`,
        );
      weights.add(tensor, file, entry);
    }
  }
  return [indexName, ...tensorsOfShard.keys()];
}

async function openGguf(path: string, name: string, options: TextOptions): Promise<ModelFiles> {
  const weights = new WeightFiles(path);
  try {
    const file = openWeightFile(path);
    weights.own(file);
    if (file.format !== 'gguf') throw new UserError(`${path} is not a GGUF file; name a model folder or a .gguf file`);
    const { metadata, entries } = file;
    const embedding = entries.find((entry) => entry.name === 'token_embd.weight');
    const frequencies = entries.find((entry) => entry.name === frequencyTensor);
    const config = ggufConfig(
      metadata,
      new Set(entries.map((entry) => entry.name)),
      embedding?.shape[0] ?? 0,
      frequencies === undefined ? null : await readF32(path, frequencies),
      path,
    );
    for (const [entry, { name: tensor }] of entries.entries())
      if (tensor !== frequencyTensor)
        weights.add(ggufTensorName(tensor, path), file, entry, permutedHeads(tensor, config));

    const files = ggufTokenizerFiles(metadata, path);
    const { json = null, config: tokenizerConfig = {}, eosTokenIds = [] } = files ?? {};
    const template = defaultTemplate(metadata['tokenizer.chat_template']);
    const { text, write } = await describeText(
      { json, config: tokenizerConfig, template, eosTokenIds, tokenizerPath: path, templatePath: path },
      options,
    );
    return {
      path,
      name,
      format: 'gguf',
      config: grownConfig(config, text),
      weights,
      ...text,
      generationConfig: {},
      fingerprint: await fingerprintFiles([path]),
      weightPaths: [path],
      writeTokenizer: write,
    };
  } catch (error) {
    weights.close();
    throw error;
  }
}

/** A vocabulary is often padded; only tokens beyond it make it grow. */
function grownConfig(config: Record<string, unknown>, { tokenizer, textOptions }: ModelText): Record<string, unknown> {
  if (textOptions.addedTokens === undefined || tokenizer === null) return config;
  return { ...config, vocab_size: Math.max(Number(config.vocab_size), tokenizer.vocabSize) };
}

/** A template is a text, or a list of named ones of which `default` is meant. */
function defaultTemplate(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return null;
  const named = value as { name?: unknown; template?: unknown }[];
  const chosen = named.find((item) => item?.name === 'default')?.template;
  return typeof chosen === 'string' ? chosen : null;
}

function tokenIds(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter((id): id is number => typeof id === 'number');
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new UserError(`${path}: Expected JSON (${(error as Error).message.split('\n')[0]}); fetch the model again`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new UserError(`${path}: Expected a JSON object; fetch the model again`);
  return value as Record<string, unknown>;
}
