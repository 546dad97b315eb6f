/** Reads weights that stay quantised, or a rank's part of them. */
import { UserError } from '../errors.js';
import { QuantisedWeight, scaleBlocks, type WeightForm } from '../ops/quantised.js';
import type { Device } from '../tensor/device.js';
import { Tensor } from '../tensor/tensor.js';
import type { ModelFiles } from '../weights/model_files.js';
import { type Part, partShape, partStart } from './shard.js';

interface StoredTensor {
  readonly name: string;
  /** As the file has it; null: one number. */
  readonly shape: readonly number[] | null;
  /** As the file has it; null: any that can be read as numbers. */
  readonly dtype: string | null;
}

interface StoredWeight {
  readonly numbers: StoredTensor;
  readonly scales: StoredTensor;
}

/** What a file has in place of the weight `name` [N, K]. */
function storedAs(files: ModelFiles, form: WeightForm, name: string, [N, K]: readonly number[]): StoredWeight {
  if (form === 'mxfp4') {
    const blocks = Math.ceil(K! / scaleBlocks.mxfp4[1]);
    return {
      numbers: { name: `${name}_blocks`, shape: [N!, blocks, scaleBlocks.mxfp4[1] / 2], dtype: 'U8' },
      scales: { name: `${name}_scales`, shape: [N!, blocks], dtype: 'U8' },
    };
  }
  // Older files have no `_inv`; both are factors of the numbers.
  const names = [`${name}_scale_inv`, `${name}_scale`];
  const scales = names.find((each) => files.weights.entries().has(each)) ?? names[0]!;
  const block = scaleBlocks[form];
  return {
    numbers: { name, shape: [N!, K!], dtype: 'F8_E4M3' },
    scales: { name: scales, shape: block && [Math.ceil(N! / block[0]), Math.ceil(K! / block[1])], dtype: null },
  };
}

/**
 * @returns the names of all that a file may have of it
 * @throws UserError for what is missing in the file or is stored otherwise
 */
export function expectQuantised(files: ModelFiles, form: WeightForm, name: string, whole: readonly number[]): string[] {
  const entries = files.weights.entries();
  const { numbers, scales } = storedAs(files, form, name, whole);
  for (const { name: stored, shape, dtype } of [numbers, scales]) {
    const entry = entries.get(stored);
    const otherwise = entries.get(name);
    if (!entry && otherwise && stored !== numbers.name && otherwise.dtype === 'F8_E4M3')
      throw new UserError(
        `${files.path}: weight '${stored}' is missing: the scales of an fp8 weight; fetch the model again`,
      );
    if ((!entry && otherwise) || (entry && dtype !== null && entry.dtype !== dtype))
      throw new UserError(
        `${files.path}: Expected weight '${stored}' to be ${dtype} by quantization_config but the file has ${(entry ?? otherwise)!.dtype}; name its module in 'modules_to_not_convert' of config.json, or fetch the model again`,
      );
    if (!entry)
      throw new UserError(
        `${files.path}: weight '${stored}' is missing; the download may be incomplete, fetch the model again`,
      );
    const fits = shape ? entry.shape.join() === shape.join() : entry.shape.every((size) => size === 1);
    if (!fits)
      throw new UserError(
        `${files.path}: Expected weight '${stored}' to have ${shape ? `shape [${shape.join(', ')}]` : 'one element'} by the config but the file has [${entry.shape.join(', ')}]`,
      );
  }
  // Scales of activations are of no use here: these stay as they are.
  const module = name.replace(/weight$/, '');
  return [numbers.name, scales.name, `${module}activation_scale`, `${module}input_scale`];
}

/** Enqueues reading a part of the weight `name`. A part may begin and end within blocks: their scales come with it. */
export function loadQuantised(
  files: ModelFiles,
  form: WeightForm,
  name: string,
  part: Part,
  device: Device,
): QuantisedWeight {
  const { numbers, scales } = storedAs(files, form, name, part.whole);
  const shape = partShape(part) as [number, number];
  const start = partStart(part) as [number, number];
  const load = (stored: StoredTensor, shape: readonly number[], dtype: 'f32' | 'u8' | 'fp8', start?: number[]) => {
    const tensor = Tensor.empty(device, shape, dtype);
    files.weights.load(stored.name, tensor, start);
    return tensor;
  };
  const block = scaleBlocks[form];
  if (block === null) {
    using scale = load(scales, files.weights.entries().get(scales.name)!.shape, 'f32');
    return new QuantisedWeight(form, shape, load(numbers, shape, 'fp8', start), scale.reshape([1]));
  }
  // Blocks that the part lies in, the first one from `first` on.
  const from = start.map((index, axis) => Math.floor(index / block[axis]!));
  const count = start.map((index, axis) => Math.ceil((index + shape[axis]!) / block[axis]!) - from[axis]!);
  const first = start.map((index, axis) => index % block[axis]!) as [number, number];
  if (form === 'fp8 block') {
    const data = load(numbers, shape, 'fp8', start);
    return new QuantisedWeight(form, shape, data, load(scales, count, 'f32', from), first);
  }
  const bytes = block[1] / 2;
  const data = load(numbers, [shape[0], bytes * count[1]!], 'u8', [start[0], bytes * from[1]!]);
  return new QuantisedWeight(form, shape, data, load(scales, [shape[0], count[1]!], 'u8', [start[0], from[1]!]), first);
}
