/** A case's tensors on a device: made, launched, read back and checked for what must not have changed. */
import { native, type OpContract } from '../../../src/native.js';
import type { Device } from '../../../src/tensor/device.js';
import type { DType, TensorData } from '../../../src/tensor/dtype.js';
import { launch } from '../../../src/tensor/launch.js';
import { Tensor } from '../../../src/tensor/tensor.js';
import { elements } from './data.js';
import type { OpCase, TensorSpec } from './types.js';

export const contracts = new Map<string, OpContract>(
  native.listOps('cpu').map((contract) => [contract.name, contract]),
);

/** What fills memory that nobody must read: two runs with different fillings tell who did. */
export interface Poison {
  float: number;
  integer: number;
}

export interface Placed {
  name: string;
  access: 'in' | 'out' | 'inout';
  spec: TensorSpec;
  tensor: Tensor;
  /** The larger tensor that `tensor` is narrowed out of, or `tensor` itself. */
  base: Tensor;
  before: Uint8Array;
}

const padding = 3;

function place(device: Device, spec: TensorSpec, poison: Poison): { tensor: Tensor; base: Tensor } {
  const { shape, dtype, view } = spec;
  const axis = view === 'first' ? 0 : shape.length - 1;
  const baseShape = view ? shape.map((size, index) => (index === axis ? size + 2 * padding : size)) : shape;
  const filling = typedArray(
    dtype,
    new Float64Array(elements(baseShape)).fill(dtype === 'f32' || dtype === 'bf16' ? poison.float : poison.integer),
  );
  const base = Tensor.from(device, filling, baseShape, dtype);
  const tensor = view ? base.narrow(axis, padding, shape[axis]!) : base;
  if (spec.data) tensor.write(typedArray(dtype, spec.data));
  return { tensor, base };
}

/** What a device takes as these values: of fp8 the bits. */
export function typedArray(dtype: DType, data: ArrayLike<number>): TensorData {
  if (dtype === 'i32') return Int32Array.from(data);
  if (dtype === 'u8' || dtype === 'fp8') return Uint8Array.from(data);
  return Float32Array.from(data);
}

/** Places the tensors of a case in the order of the contract; null for those left out. */
export async function placeAll(
  device: Device,
  op: string,
  tensors: OpCase['tensors'],
  poison: Poison,
): Promise<(Placed | null)[]> {
  const parameters = contracts.get(op)!.tensors;
  const unknown = Object.keys(tensors).filter((name) => !parameters.some((parameter) => parameter.name === name));
  if (unknown.length > 0) throw new Error(`${op} has no argument ${unknown.join(', ')}`);
  const placed = new Map<string, Placed>();
  for (const { name, access } of parameters) {
    const spec = tensors[name];
    if (!spec) continue;
    const other = spec.same === undefined ? undefined : placed.get(spec.same);
    const { tensor, base } = other ?? place(device, spec, poison);
    placed.set(name, { name, access, spec, tensor, base, before: await base.readBytes() });
  }
  return parameters.map(({ name }) => placed.get(name) ?? null);
}

export function launchCase(
  device: Device,
  op: string,
  placed: readonly (Placed | null)[],
  attributes: OpCase['attributes'],
): void {
  const values = (typeof attributes === 'function' ? attributes(device) : attributes) ?? {};
  const names = contracts.get(op)!.attributes;
  const unknown = Object.keys(values).filter((name) => !names.includes(name));
  const missing = names.filter((name) => values[name] === undefined);
  if (unknown.length + missing.length > 0)
    throw new Error(`${op}: attributes unknown: [${unknown}], missing: [${missing}]`);
  launch(
    op as OpContract['name'],
    placed.map((argument) => argument?.tensor ?? null),
    names.map((name) => values[name]!),
  );
}

export function disposeAll(placed: readonly (Placed | null)[]): void {
  for (const argument of placed) {
    argument?.tensor.dispose();
    argument?.base.dispose();
  }
}

/** What the case's inputs and the surroundings of its views hold now differs from before: which arguments, or none. */
export async function unexpectedChanges(placed: readonly (Placed | null)[]): Promise<string[]> {
  const changed: string[] = [];
  for (const argument of placed) {
    if (!argument) continue;
    const after = await argument.base.readBytes();
    const { before, base, spec } = argument;
    const written = placed.some((other) => other !== null && other.access !== 'in' && other.base === base);
    if (!written) {
      if (Buffer.compare(before, after) !== 0) changed.push(`'${argument.name}', which is only read`);
    } else if (spec.view && surroundings(argument, before) !== surroundings(argument, after)) {
      changed.push(`memory around the view '${argument.name}'`);
    }
  }
  return changed;
}

/** The bytes of the base that lie outside the view, as text. */
function surroundings({ base, spec }: Placed, bytes: Uint8Array): string {
  const size = bytes.length / base.size;
  const first = spec.view === 'first';
  const row = (first ? elements(base.shape.slice(1)) : base.shape.at(-1)!) * size;
  const pad = first ? padding * row : padding * size;
  const parts: Buffer[] = [];
  if (first) parts.push(Buffer.from(bytes.subarray(0, pad)), Buffer.from(bytes.subarray(bytes.length - pad)));
  else
    for (let start = 0; start < bytes.length; start += row)
      parts.push(
        Buffer.from(bytes.subarray(start, start + pad)),
        Buffer.from(bytes.subarray(start + row - pad, start + row)),
      );
  return Buffer.concat(parts).toString('hex');
}
