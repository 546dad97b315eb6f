// What training does across the ranks that hold a model together.

import type { Communicator } from '../distributed/communicator.js';
import type { CausalLM } from '../nn/model.js';
import { type Part, rangesOf } from '../nn/shard.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { type TensorToWrite, tensorToWrite } from '../weights/safetensors_writer.js';
import type { Parameters } from './optimizer.js';

/** What this rank holds of weights and adapters, by the names of parameters. */
export function parameterParts(model: CausalLM): Map<string, Part> {
  const parts = new Map(model.parts);
  for (const [name, linear] of model.linears) {
    if (linear.adapter === null) continue;
    const { a, b } = linear.adapterParts(linear.adapter.a.shape[0]!);
    parts.set(`${name}.lora_A.weight`, a);
    parts.set(`${name}.lora_B.weight`, b);
  }
  return parts;
}

/** Collective. Sums gradients of which each rank that holds the parameter has found a share; then all of these have the same. */
export function reducePartialGradients(model: CausalLM, parameters: Parameters): void {
  const { group } = model;
  if (group === null) return;
  const parts = parameterParts(model);
  for (const [name, { grad }] of parameters) {
    const part = parts.get(name)!;
    if (!part.partial || part.holders === 1) continue;
    if (part.holders === group.size) group.allReduce(grad!);
    else sumOverHolders(grad!, part, group);
  }
}

/** Some ranks of the group hold the same part: neighbours, in whose order the sum is. */
function sumOverHolders(gradient: Tensor, { holders, holder }: Part, group: Communicator): void {
  scope(() => {
    const all = group.allGather(gradient);
    const rows = gradient.shape[0]!;
    const of = (index: number) => all.narrow(0, (group.rank - holder + index) * rows, rows);
    launch('copy', [of(0), gradient]);
    for (let index = 1; index < holders; index += 1) launch('add', [gradient, of(index), gradient], [1]);
  });
}

/** Those that count in a norm over all ranks of the group: each part where it is held first. */
export function countedHere(model: CausalLM, parameters: Parameters): Parameters {
  if (model.group === null) return parameters;
  const parts = parameterParts(model);
  return new Map([...parameters].filter(([name]) => parts.get(name)!.holder === 0));
}

/** Collective. A tensor from the parts that the ranks have of it. The caller's to dispose. */
export function gatherWhole(local: Tensor, part: Part, group: Communicator): Tensor {
  return scope(() => {
    const { whole: shape, axis, holders } = part;
    const whole = Tensor.empty(local.device, shape, local.dtype);
    if (holders === group.size) {
      launch('copy', [local, whole]);
      return whole;
    }
    const ranges = rangesOf(part, group.size);
    // Parts of a vocabulary may differ by a row; what the ranks exchange has one shape.
    const widest = Math.max(...ranges.map(({ length }) => length));
    let mine = local;
    if (widest > local.shape[axis]!) {
      mine = Tensor.zeros(local.device, [widest, ...local.shape.slice(1)], local.dtype);
      launch('copy', [local, mine.narrow(0, 0, local.shape[0]!)]);
    }
    const gathered = group.allGather(mine);
    const rows = mine.shape[0]!;
    for (const [rank, { start, length }] of ranges.entries()) {
      const from = gathered.narrow(0, rank * rows, axis === 0 ? length : rows);
      launch('copy', [from, whole.narrow(axis, start, length)]);
    }
    return whole;
  });
}

/**
 * A parameter, or a tensor beside it of as many elements, as it is written whole.
 * @param part of the parameter; `read` is then collective
 */
export function wholeToWrite(
  name: string,
  tensor: Tensor,
  part: Part | undefined,
  group: Communicator | null,
  convert: (whole: Tensor) => TensorToWrite = (whole) => tensorToWrite(name, whole),
): TensorToWrite {
  if (group === null || part === undefined) return convert(tensor);
  const flat = tensor.shape.length !== part.whole.length;
  const shape = flat ? [part.whole.reduce((product, length) => product * length, 1)] : part.whole;
  return {
    ...convert(tensor),
    shape,
    async read() {
      using local = tensor.reshape(part.whole.map((size, axis) => (axis === part.axis ? part.length : size)));
      using whole = gatherWhole(local, part, group);
      return convert(whole).read();
    },
  };
}
