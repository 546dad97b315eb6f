// Adapters in PEFT's layout: adapter_config.json and adapter_model.safetensors, as peft, transformers and vLLM load them.

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.js';
import type { Linear } from '../nn/linear.js';
import type { CausalLM } from '../nn/model.js';
import { Tensor } from '../tensor/tensor.js';
import { fingerprintFiles } from '../weights/fingerprint.js';
import { writeSafetensors } from '../weights/safetensors_writer.js';
import { openWeightFile, WeightFiles } from '../weights/weight_source.js';
import { tensorsToWrite } from './checkpoint.js';
import { adapterTensors, type LoraOptions, loraScale, removeAdapters, setAdapter } from './lora_modules.js';
import { parseStrict } from './strict_schema.js';

const configFile = 'adapter_config.json';
const weightsFile = 'adapter_model.safetensors';
const prefix = 'base_model.model.';

/** Writes the model's adapters into an existing folder. @param baseModel path or name that peft may load the base from */
export async function saveAdapter(
  folder: string,
  model: CausalLM,
  options: Omit<LoraOptions, 'seed'>,
  baseModel: string,
): Promise<void> {
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
    modules_to_save: null,
    init_lora_weights: true,
    inference_mode: true,
  };
  const tensors = new Map([...adapterTensors(model)].map(([name, tensor]) => [prefix + name, tensor]));
  await writeSafetensors(join(folder, weightsFile), tensorsToWrite(tensors));
  await writeFile(join(folder, configFile), `${JSON.stringify(config, null, 2)}\n`);
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
  modules_to_save: z.array(z.string()).max(0).nullish(),
  rank_pattern: z.record(z.string(), z.number()).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
});

/** What an adapter was made with, and a fingerprint of its files. @throws {UserError} for a folder without an adapter */
export async function readAdapterSettings(folder: string): Promise<{
  settings: { rank: number; alpha: number; rsLora: boolean; targetModules: string[] };
  fingerprint: string;
}> {
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
    },
    fingerprint: await fingerprintFiles([path, join(folder, weightsFile)]),
  };
}

/**
 * Puts the adapter of a PEFT folder on the model, in place of any it has.
 * @param options for training it on: the seed of the dropout masks, default 0, and their probability, default the adapter's
 * @throws {UserError} for a folder without an adapter, for settings that are not done here, and for a weight that matches no
 *   linear layer of the model, or has another shape, or lacks its pair
 */
export async function loadAdapter(
  folder: string,
  model: CausalLM,
  options: { seed?: number; dropout?: number } = {},
): Promise<void> {
  const config = await readAdapterConfig(join(folder, configFile));
  const path = join(folder, weightsFile);
  const file = openWeightFile(path);
  const weights = new WeightFiles(path);
  weights.own(file);
  const created: Tensor[] = [];
  try {
    for (const [index, { name }] of file.entries.entries()) weights.add(name, file, index);
    const entries = weights.entries();
    const found = modulesOf(model, entries, path);
    const adapters = found.map((linear) => {
      const [outputs, inputs] = linear.weight.shape as [number, number];
      const load = (part: string, shape: number[]): Tensor => {
        const key = `${prefix}${linear.name}.${part}.weight`;
        const received = entries.get(key)?.shape.join(', ') ?? 'nothing';
        if (received !== shape.join(', ')) {
          throw new UserError(
            `${path}: Expected '${key}' to have shape [${shape.join(', ')}] but received [${received}]; is this the adapter's base model?`,
          );
        }
        const tensor = Tensor.empty(model.device, shape);
        created.push(tensor);
        weights.load(key, tensor);
        return tensor;
      };
      return [linear, { a: load('lora_A', [config.r, inputs]), b: load('lora_B', [outputs, config.r]) }] as const;
    });
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

/** The layers that the file has weights for. */
function modulesOf(model: CausalLM, entries: ReadonlyMap<string, unknown>, path: string): Linear[] {
  const modules = new Set<Linear>();
  for (const key of entries.keys()) {
    const name = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(key)?.[1];
    const linear = name === undefined ? undefined : model.linears.get(name);
    if (linear === undefined) {
      throw new UserError(`${path}: '${key}' matches no linear layer of the model; is this the adapter's base model?`);
    }
    modules.add(linear);
  }
  if (modules.size === 0)
    throw new UserError(`${path}: Expected the weights of an adapter but the file is empty; save it again`);
  return [...modules];
}
