import { native, type OpName } from '../native.js';
import { dtypeNumber } from './dtype.js';
import type { Tensor } from './tensor.js';

interface Launchable {
  number: number;
  /** Which arguments are written. */
  writes: boolean[];
  /** The last so many arguments may come again and again. */
  group: number;
}

const operations = new Map<OpName, Launchable>(
  native
    .listOps('cpu')
    .map((op, number) => [
      op.name,
      { number, writes: op.tensors.map((tensor) => tensor.access !== 'in'), group: op.groupTensors },
    ]),
);

const debug = process.env.COMPRESS_DISTILL_DEBUG === '1';

/**
 * Enqueues one native operation, with tensors and attributes in the order of its contract (kernels/<folder>/<folder>.h);
 * null leaves an optional tensor out; an operation that takes groups of arguments gets one group after another. Arguments are checked now, data when it runs: a failure then poisons what the operation
 * writes and shows when that is read.
 *
 * @throws Error that names the argument, with expected and received.
 */
export function launch(name: OpName, tensors: readonly (Tensor | null)[], attributes: readonly number[] = []): void {
  const operation = operations.get(name)!;
  const device = (tensors.find((tensor) => tensor !== null) as Tensor).device;
  const buffer = device.commandBuffer;
  let at = 3;
  buffer[0] = operation.number;
  buffer[1] = tensors.length;
  buffer[2] = attributes.length;
  for (const tensor of tensors) {
    if (tensor === null) {
      buffer[at++] = -1;
      continue;
    }
    if (tensor.device !== device)
      throw new Error(`${name}: Expected all tensors on ${device.name} but received ${tensor} of another device`);
    const shape = tensor.shape;
    buffer[at++] = tensor.handle;
    buffer[at++] = dtypeNumber[tensor.dtype];
    buffer[at++] = tensor.offset;
    buffer[at++] = tensor.rowStride;
    buffer[at++] = shape.length;
    for (let axis = 0; axis < shape.length; axis += 1) buffer[at++] = shape[axis]!;
  }
  for (let index = 0; index < attributes.length; index += 1) buffer[at++] = attributes[index]!;
  if (at > buffer.length)
    throw new Error(`${name}: Expected fewer tensors in one operation but received ${tensors.length}`);
  if (debug) native.enqueue(device.id, new Error().stack?.split('\n').slice(2).join('\n'));
  else native.enqueue(device.id);
  const { writes, group } = operation;
  for (let index = 0; index < tensors.length; index += 1) {
    const again = index - writes.length;
    if (writes[again < 0 ? index : writes.length - group + (again % group)]) tensors[index]?.bumpVersion();
  }
}
