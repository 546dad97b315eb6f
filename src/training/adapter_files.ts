// Adapters in PEFT's layout: adapter_config.json and adapter_model.safetensors, as peft, transformers and vLLM load them.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import type { Linear } from '../nn/linear.js';
import type { CausalLM } from '../nn/model.js';
import { type Part, partShape, partStart } from '../nn/shard.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';
import type { AddedToken } from '../text/text_options.js';
import type { TokenizerJson } from '../text/tokenizer.js';
import { fingerprintFiles } from '../weights/fingerprint.js';
import { expectInside } from '../weights/inside.js';
import { type TensorToWrite, writeSafetensors } from '../weights/safetensors_writer.js';
import { openWeightFile, WeightFiles } from '../weights/weight_source.js';
import { adapterTensors, type LoraOptions, loraScale, removeAdapters, setAdapter } from './lora_modules.js';
import { moduleNames, savedTensors, savedWeights, storedNames } from './saved_modules.js';
import { parseStrict } from './strict_schema.js';
import { parameterParts, wholeToWrite } from './tensor_parallel.js';

const configFile = 'adapter_config.json';
export const weightsFile = 'adapter_model.safetensors';
const prefix = 'base_model.model.';

/**
 * Writes the model's adapters, and the modules that were trained whole, into an existing folder.
 * @param baseModel path or name that peft may load the base from
 */
export async function saveAdapter(
  folder: string,
  model: CausalLM,
  options: Omit<LoraOptions, 'seed'> & { readonly modulesToSave?: readonly string[] },
  baseModel: string,
): Promise<void> {
  const saved = savedTensors(model, options.modulesToSave ?? []);
  const config = {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseModel,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    target_modules: options.targetModules,
    use_rslora: options.rsLora,
    bias: 'none',
    fan_in_fan_out: false,
    // Both copies of a tied weight are in the file, for those who do not know this key.
    ensure_weight_tying: storedNames(model, saved.keys()).length > saved.size,
    modules_to_save: saved.size > 0 ? moduleNames(model, saved.keys()) : null,
    init_lora_weights: true,
    inference_mode: true,
  };
  await writeSafetensors(join(folder, weightsFile), adapterFileTensors(model, options.modulesToSave ?? []));
  await writeFile(join(folder, configFile), `${JSON.stringify(config, null, 2)}\n`);
}

/** What {@link saveAdapter} writes. Where ranks hold the model together, reading a tensor is collective. */
export function adapterFileTensors(model: CausalLM, modulesToSave: readonly string[]): TensorToWrite[] {
  const parts = parameterParts(model);
  const saved = savedTensors(model, modulesToSave);
  const own = [...adapterTensors(model).keys()].map((name): [string, string] => [name, name]);
  const tensors = new Map([...adapterTensors(model), ...saved]);
  return [...own, ...storedNames(model, saved.keys())].map(([stored, name]) =>
    wholeToWrite(prefix + stored, tensors.get(name)!, parts.get(name), model.group),
  );
}

// What would change the mathematics, and is not done here, is refused by value; other keys do not matter.
const adapterConfig = z.looseObject({
  peft_type: z.literal('LORA'),
  r: z.number().int().min(1),
  lora_alpha: z.number(),
  lora_dropout: z.number().min(0).lt(1).default(0),
  use_rslora: z.boolean().default(false),
  target_modules: z.union([z.array(z.string()), z.string()]).nullish(),
  use_dora: z.literal(false).nullish(),
  fan_in_fan_out: z.literal(false).nullish(),
  bias: z.literal('none').nullish(),
  modules_to_save: z.array(z.string()).nullish(),
  rank_pattern: z.record(z.string(), z.number()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
});

/** What an adapter was made with, and a fingerprint of its files. @throws {UserError} for a folder without an adapter */
export async function readAdapterSettings(folder: string): Promise<{
  settings: { rank: number; alpha: number; rsLora: boolean; targetModules: string[]; modulesToSave: string[] };
  fingerprint: string;
}> {
  await expectInside(folder, [configFile, weightsFile]);
  const path = join(folder, configFile);
  const config = await readAdapterConfig(path);
  if (!Array.isArray(config.target_modules) || config.target_modules.length === 0) {
    throw new UserError(
      `${path}: Expected 'target_modules' to be a list of names but received ${JSON.stringify(config.target_modules)}; write the names out`,
    );
  }
  return {
    settings: {
      rank: config.r,
      alpha: config.lora_alpha,
      rsLora: config.use_rslora,
      targetModules: config.target_modules,
      modulesToSave: config.modules_to_save ?? [],
    },
    fingerprint: await fingerprintFiles([path, join(folder, weightsFile)]),
  };
}

/**
 * For an adapter with modules that were saved whole, the tokens that the tokenizer beside it knows as added: the base that is opened
 * with them has a row for each of its embeddings. For any other none.
 */
export async function adapterTokens(folder: string): Promise<AddedToken[]> {
  const config = await readAdapterConfig(join(folder, configFile));
  if ((config.modules_to_save ?? []).length === 0) return [];
  const text = await readFile(join(folder, 'tokenizer.json'), 'utf8').catch(() => '{}');
  const { added_tokens: tokens = [] } = JSON.parse(text) as Partial<TokenizerJson>;
  return tokens.map(({ content, special = false }) => ({ content, special }));
}

/**
 * Puts the adapter of a PEFT folder on the model, in place of any it has; modules that were saved whole take the place of the
 * model's own, for good.
 * @param options for training it on: the seed of the dropout masks, default 0, their probability, default the adapter's, and the
 *   f32 masters of bf16 weights, which follow the saved modules
 * @throws {UserError} for a folder without an adapter, for settings that are not done here, and for a weight that matches no
 *   module of the model, or has another shape, or lacks its pair
 */
export async function loadAdapter(
  folder: string,
  model: CausalLM,
  options: { seed?: number; dropout?: number; masters?: ReadonlyMap<string, Tensor> } = {},
): Promise<void> {
  await expectInside(folder, [configFile, weightsFile]);
  const config = await readAdapterConfig(join(folder, configFile));
  const path = join(folder, weightsFile);
  const file = openWeightFile(path);
  const weights = new WeightFiles(path);
  weights.own(file);
  const created: Tensor[] = [];
  try {
    for (const [index, { name }] of file.entries.entries()) weights.add(name, file, index);
    const entries = weights.entries();
    const { linears, whole } = modulesOf(model, entries, config.modules_to_save ?? [], path);
    const load = (key: string, part: Part): Tensor => {
      const received = entries.get(key)?.shape.join(', ') ?? 'nothing';
      if (received !== part.whole.join(', ')) {
        const remedy = whole.has(key)
          ? "does 'addedTokens' name those of the adapter?"
          : "is this the adapter's base model?";
        throw new UserError(
          `${path}: Expected '${key}' to have shape [${part.whole.join(', ')}] but received [${received}]; ${remedy}`,
        );
      }
      const tensor = Tensor.empty(model.device, partShape(part));
      created.push(tensor);
      weights.load(key, tensor, partStart(part));
      return tensor;
    };
    const adapters = linears.map((linear) => {
      const { a, b } = linear.adapterParts(config.r);
      const key = (part: string) => `${prefix}${linear.name}.${part}.weight`;
      return [linear, { a: load(key('lora_A'), a), b: load(key('lora_B'), b) }] as const;
    });
    const replacements = [...whole].map(([key, name]) => ({ name, tensor: load(key, model.parts.get(name)!) }));
    await expectTied(model, replacements, path);
    // Conversion runs on the stream; what fails there shows here.
    for (const tensor of created) await tensor.readBytes();
    removeAdapters(model);
    const scale = loraScale({ rank: config.r, alpha: config.lora_alpha, rsLora: config.use_rslora });
    for (const [linear, tensors] of adapters) {
      setAdapter(linear, {
        ...tensors,
        scale,
        dropout: options.dropout ?? config.lora_dropout,
        seed: options.seed ?? 0,
      });
    }
    for (const { name, tensor } of replacements) {
      for (const target of [model.weights.get(name), options.masters?.get(name)])
        if (target) launch('copy', [tensor, target]);
      tensor.dispose();
    }
    model.weightsChanged();
  } catch (error) {
    for (const tensor of created) tensor.dispose();
    throw error;
  } finally {
    weights.close();
  }
}

async function readAdapterConfig(path: string): Promise<z.output<typeof adapterConfig>> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new UserError(
      `${path}: Expected the JSON file of a PEFT adapter (${(error as Error).message}); check the path`,
    );
  }
  const config = parseStrict(adapterConfig, value, path);
  const pattern = [config.rank_pattern, config.alpha_pattern].some((ranks) => Object.keys(ranks ?? {}).length > 0);
  if (pattern)
    throw new UserError(
      `${path}: Expected one rank and one alpha for all modules but received 'rank_pattern' or 'alpha_pattern'`,
    );
  return config;
}

/** The layers that the file has adapters for, and by their keys the weights that it replaces. */
function modulesOf(
  model: CausalLM,
  entries: ReadonlyMap<string, unknown>,
  modulesToSave: readonly string[],
  path: string,
): { linears: Linear[]; whole: Map<string, string> } {
  const linears = new Set<Linear>();
  const savable = new Map(
    storedNames(model, savedWeights([...model.weights.keys()], modulesToSave)).map(([stored, name]) => [
      prefix + stored,
      name,
    ]),
  );
  const whole = new Map<string, string>();
  for (const key of entries.keys()) {
    const saved = savable.get(key);
    const name = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(key)?.[1];
    const linear = name === undefined ? undefined : model.linears.get(name);
    if (saved !== undefined) whole.set(key, saved);
    else if (linear !== undefined) linears.add(linear);
    else
      throw new UserError(
        `${path}: '${key}' matches no module of the model that is adapted or saved whole; is this the adapter's base model?`,
      );
  }
  const missing = new Set(savable.values());
  for (const name of whole.values()) missing.delete(name);
  if (missing.size > 0)
    throw new UserError(
      `${path}: Expected the weights of '${[...missing][0]}', which 'modules_to_save' names, but there are none; save the adapter again`,
    );
  if (linears.size === 0)
    throw new UserError(`${path}: Expected the weights of an adapter but the file is empty; save it again`);
  return { linears: [...linears], whole };
}

/** Two copies of one tied weight must be the same. */
async function expectTied(
  model: CausalLM,
  replacements: readonly { name: string; tensor: Tensor }[],
  path: string,
): Promise<void> {
  const first = new Map<string, Uint8Array>();
  for (const { name, tensor } of replacements.filter((each) =>
    replacements.some((other) => other !== each && other.name === each.name),
  )) {
    const bytes = await tensor.readBytes();
    if (Buffer.compare(bytes, first.get(name) ?? bytes) !== 0)
      throw new UserError(
        `${path}: Expected embeddings and head to be the same, as ${model.config.source.model_type ?? 'the model'} ties them, but they were trained apart; train them with 'ensure_weight_tying'`,
      );
    first.set(name, bytes);
  }
}
