// The state of an optimizer where ranks hold the model together: which part of it a rank has, and how it is written whole.

import type { Communicator } from '../distributed/communicator.js';
import type { CausalLM } from '../nn/model.js';
import { type Part, partShape, rangesOf } from '../nn/shard.js';
import type { Tensor } from '../tensor/tensor.js';
import { type TensorToWrite, tensorToWrite } from '../weights/safetensors_writer.js';
import type { StateWriter } from './checkpoint.js';
import { isOfBlocks, momentBlock, type Place } from './optimizer.js';
import { parameterParts, wholeToWrite } from './tensor_parallel.js';

const product = (sizes: readonly number[]): number => sizes.reduce((result, size) => result * size, 1);

/** Elements of a part between one index of its axis 0 and the next, in the whole. */
const columnsOf = ({ whole }: Part): number => product(whole.slice(1));

const isWhole = ({ whole, axis, length }: Part): boolean => length === whole[axis];

/** Whether the blocks of every rank's part are blocks of the whole tensor, both counted row after row. */
export function blocksFit(part: Part, ranks: number): boolean {
  const columns = columnsOf(part);
  if (isWhole(part)) return true;
  if (part.axis === 1) return part.length % momentBlock === 0 && columns % momentBlock === 0;
  // Parts of a vocabulary may differ by a row.
  if (part.kind === 'vocabulary') return columns % momentBlock === 0;
  return rangesOf(part, ranks).every(({ start }) => (start * columns) % momentBlock === 0);
}

/** What a rank has of a tensor with one element for each block of another, of which it has `part`; {@link blocksFit}. */
function blockPart(part: Part): Part {
  const { whole, axis, start, length } = part;
  const columns = columnsOf(part);
  const blocks = Math.ceil(product(whole) / momentBlock);
  if (isWhole(part)) return { ...part, whole: [blocks], axis: 0, start: 0, length: blocks };
  if (columns % momentBlock === 0) {
    const each = axis === 1 ? momentBlock : 1;
    return { ...part, whole: [whole[0]!, columns / momentBlock], start: start / each, length: length / each };
  }
  const blocksOf = (rows: number): number => Math.ceil((rows * columns) / momentBlock);
  return { ...part, whole: [blocks], axis: 0, start: blocksOf(start), length: blocksOf(length) };
}

/** Where a parameter, or a rank's shard of it from its element `first`, lies in the whole tensor. */
export function placeOf(part: Part, ranks: number, first = 0): Place {
  const begin = part.axis === 0 ? part.start * columnsOf(part) : 0;
  // Elsewhere the numbers that updates are rounded by are not those of one rank.
  const known = begin % momentBlock === 0 ? begin : 0;
  return { first: known + first, whole: product(part.whole), blocksFit: blocksFit(part, ranks) };
}

/** `a.b.weight` of `a.b.weight.master`. */
const parameterOf = (name: string): string => name.slice(0, name.lastIndexOf('.'));

/** What this rank has of a tensor of the state, by its name. */
export function statePart(parts: ReadonlyMap<string, Part>): (name: string) => Part {
  return (name) => {
    const part = parts.get(parameterOf(name))!;
    return isOfBlocks(name) ? blockPart(part) : part;
  };
}

/**
 * How the state of an optimizer is written whole by the first rank of `model.group`. Reading a tensor is then collective.
 * @param holders where each rank keeps a shard of its part: those that hold the others. Those of their first ranks alone gather more
 */
export function stateToWrite(model: CausalLM, holders: Communicator | null): StateWriter {
  const partOf = statePart(parameterParts(model));
  const { group } = model;
  return (state) =>
    [...state].map(([name, tensor]) => {
      if (group === null) return tensorToWrite(name, tensor);
      const part = partOf(name);
      return holders ? shardToWrite(name, tensor, part, group, holders) : wholeToWrite(name, tensor, part, group);
    });
}

function shardToWrite(
  name: string,
  shard: Tensor,
  part: Part,
  group: Communicator,
  holders: Communicator,
): TensorToWrite {
  return {
    ...tensorToWrite(name, shard),
    shape: [product(part.whole)],
    async read() {
      using all = holders.allGather(shard);
      if (holders.rank > 0) return new Uint8Array();
      using local = all.narrow(0, 0, product(partShape(part)));
      return wholeToWrite(name, local, part, group).read();
    },
  };
}
