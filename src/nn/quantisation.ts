/** Which weights of a checkpoint are stored quantised, and how: `quantization_config` of config.json, as transformers writes it. */
import { UserError } from '../errors.js';
import { QuantisedWeight, scaleBlocks, type WeightForm } from '../ops/quantised.js';
import type { CausalLM } from './model.js';
import type { WeightSpec } from './shard.js';

export interface Quantisation {
  readonly form: WeightForm;
  /** Whether a weight of the model is stored so: the matrices of linear layers, but for modules that the config leaves out. */
  covers(name: string, spec: WeightSpec): boolean;
}

/**
 * @param config config.json
 * @returns null for a model whose weights are plain numbers
 * @throws UserError, one line with the remedy, for a method that this version does not read
 */
export function quantisationOf(config: Record<string, unknown>): Quantisation | null {
  const settings = config.quantization_config;
  if (settings === undefined || settings === null) return null;
  if (typeof settings !== 'object') throw unknownMethod(settings);
  const {
    quant_method: method,
    weight_block_size: blocks,
    modules_to_not_convert: left,
  } = settings as Record<string, unknown>;
  if (method !== 'fp8' && method !== 'mxfp4') throw unknownMethod(method);
  const oneScale = blocks === undefined || blocks === null;
  if (method === 'fp8' && !oneScale && String(blocks) !== String(scaleBlocks['fp8 block']))
    throw new UserError(
      `Expected 'weight_block_size' in the model's quantization_config to be [128, 128], or null for one scale, but received ${JSON.stringify(blocks)}; use the model's weights in bf16`,
    );
  if (left !== undefined && left !== null && !(Array.isArray(left) && left.every((name) => typeof name === 'string')))
    throw new UserError(
      `Expected 'modules_to_not_convert' in the model's quantization_config to be a list of names but received ${JSON.stringify(left)}; correct its config.json`,
    );
  const leaves = ((left ?? []) as string[]).map(nameMatcher);
  return {
    form: method === 'mxfp4' ? 'mxfp4' : oneScale ? 'fp8 tensor' : 'fp8 block',
    covers: (name, { shape, shard }) => {
      const isLinear = shape.length === 2 && (shard?.kind === 'column' || shard?.kind === 'row');
      return isLinear && !leaves.some((matches) => matches(name.replace(/\.weight$/, '')));
    },
  };
}

function unknownMethod(method: unknown): UserError {
  return new UserError(
    `Expected 'quant_method' in the model's quantization_config to be 'fp8' or 'mxfp4' but received ${JSON.stringify(method)}; use the model's weights in bf16, or a GGUF file of it`,
  );
}

/** Of a module: its name begins or ends as the pattern says, in which * stands for anything. */
function nameMatcher(pattern: string): (module: string) => boolean {
  const pieces = pattern.split('*').map((piece) => piece.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  const anything = pieces.join('.*');
  const expression = new RegExp(`^(?:${anything}|.*${anything}$)`);
  return (module) => expression.test(module);
}

/** Bytes of a weight [N, K] with its scales. */
export function quantisedBytes(form: WeightForm, [outputs, inputs]: readonly number[]): number {
  const [rows, columns] = scaleBlocks[form] ?? [outputs!, inputs!];
  const blocks = Math.ceil(outputs! / rows) * Math.ceil(inputs! / columns);
  return form === 'mxfp4' ? 17 * blocks : outputs! * inputs! + 4 * blocks;
}

/** A model's quantised weights by their names in the checkpoint. */
export function quantisedWeights({ linears }: Pick<CausalLM, 'linears'>): Map<string, QuantisedWeight> {
  const found = new Map<string, QuantisedWeight>();
  for (const { name, weight } of linears.values())
    if (weight instanceof QuantisedWeight) found.set(`${name}.weight`, weight);
  return found;
}

const described: Record<WeightForm, string> = {
  'fp8 tensor': 'fp8 with one scale each',
  'fp8 block': 'fp8 with a scale for each 128 × 128',
  mxfp4: 'mxfp4',
};

/** For the user: `bf16`, and, if they are, how linear layers are stored. */
export function describeWeights(dtype: string, form: WeightForm | undefined): string {
  return form === undefined
    ? dtype
    : `${dtype}, linear layers stored in ${described[form]} (activations stay ${dtype})`;
}
