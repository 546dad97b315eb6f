// Checkpoints of a run: master weights, optimizer state and the step, from which the run goes on bit for bit. Everything
// else (order of the data, dropout, learning rate) is a function of the settings and the step.

import { open, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import { native, type WeightEntry } from '../native.js';
import { type Part, takePart } from '../nn/shard.js';
import { dtypeSize, type TensorData } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { type TensorToWrite, tensorToWrite, writeSafetensors } from '../weights/safetensors_writer.js';
import { openWeightFile } from '../weights/weight_source.js';
import { removeLeftovers, temporaryFolder, writeFolder } from './atomic_folder.js';
import type { StateLayout } from './optimizer.js';
import { shardLength } from './sharded_tensor.js';
import { together } from './together.js';

export interface CheckpointInfo {
  /** Optimizer steps done. */
  readonly step: number;
  /** Of the run: settings, model and data. */
  readonly fingerprint: string;
  /** Wall-clock seconds that the run took so far. */
  readonly seconds: number;
}

export interface Checkpoint extends CheckpointInfo {
  /** The folder. */
  readonly path: string;
}

const infoFile = 'checkpoint.json';

/** Where the checkpoints of a run lie. */
export const checkpointFolder = (output: string): string => join(output, 'checkpoints');

/** checkpoint.json: the index of a checkpoint. */
interface Index extends CheckpointInfo {
  /** Files that the state lies in, in the order of the ranks that wrote them: each has an equal flat part of every tensor. */
  readonly files: readonly string[];
}

function stateFiles(ranks: number): string[] {
  const number = (value: number) => String(value).padStart(5, '0');
  if (ranks === 1) return ['state.safetensors'];
  return Array.from({ length: ranks }, (_, rank) => `state-${number(rank + 1)}-of-${number(ranks)}.safetensors`);
}

const checkpointPath = (folder: string, step: number) => join(folder, `step-${String(step).padStart(8, '0')}`);

/**
 * Writes `<folder>/step-<info.step>` whole or not at all, then removes all but the latest `keepLast`.
 * @param communicator of ranks each of which has a part of the state, `state` being the first one's; the others {@link saveShard}
 * @param toWrite how the state is written; default: as it is
 * @throws {UserError} when the disk has too little room, before anything is written, and when another rank failed
 */
export async function saveCheckpoint(
  folder: string,
  info: CheckpointInfo,
  state: ReadonlyMap<string, Tensor>,
  keepLast: number,
  communicator: Communicator | null = null,
  toWrite: StateWriter = tensorsToWrite,
): Promise<Checkpoint> {
  const path = checkpointPath(folder, info.step);
  const files = stateFiles(communicator?.size ?? 1);
  const all: All = (work) => (communicator ? together(communicator, writing(path), work) : work());
  await writeFolder(path, async (temporary) => {
    const tensors = toWrite(state);
    await all(() => expectRoom(temporary, files.length * writtenBytes(tensors)));
    await all(() => writeSafetensors(join(temporary, files[0]!), tensors));
    await writeFile(join(temporary, infoFile), `${JSON.stringify({ ...info, files } satisfies Index)}\n`);
  });
  const old = (await checkpointNames(folder)).slice(0, -keepLast);
  for (const name of old) await rm(join(folder, name), { recursive: true });
  return { ...info, path };
}

/**
 * What the other ranks do while the first one calls {@link saveCheckpoint}: each writes a file of its own. The checkpoint is there
 * when all have written theirs, or not at all.
 * @throws {UserError} on every rank when one failed
 */
export async function saveShard(
  folder: string,
  step: number,
  state: ReadonlyMap<string, Tensor>,
  communicator: Communicator,
): Promise<void> {
  const path = checkpointPath(folder, step);
  const all: All = (work) => together(communicator, writing(path), work);
  const file = join(temporaryFolder(path), stateFiles(communicator.size)[communicator.rank]!);
  await all(async () => {}); // The folder is there then, and room for all.
  await all(() => writeSafetensors(file, tensorsToWrite(state)));
}

type All = (work: () => Promise<void>) => Promise<void>;

const writing = (path: string) => `write its part of ${path}`;

/** The state of an optimizer as a file takes it. */
export type StateWriter = (state: ReadonlyMap<string, Tensor>) => TensorToWrite[];

/** Named tensors as a file takes them. */
export function tensorsToWrite(tensors: ReadonlyMap<string, Tensor>): TensorToWrite[] {
  return [...tensors].map(([name, tensor]) => tensorToWrite(name, tensor));
}

export function tensorBytes(tensors: ReadonlyMap<string, Tensor>): number {
  return [...tensors.values()].reduce((sum, { size, dtype }) => sum + size * dtypeSize[dtype], 0);
}

function writtenBytes(tensors: readonly TensorToWrite[]): number {
  const bytes = { F32: 4, BF16: 2, U8: 1 } as Record<string, number>;
  return tensors.reduce((sum, { shape, dtype }) => sum + shape.reduce((a, b) => a * b, 1) * bytes[dtype]!, 0);
}

/** @throws {UserError} when the file system of `folder` has less than `bytes` and a little more left */
export async function expectRoom(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const needed = bytes + 2 ** 20;
  if (bavail * bsize >= needed) return;
  const megabytes = (value: number) => `${Math.ceil(value / 1e6)} MB`;
  throw new UserError(
    `${folder}: Expected ${megabytes(needed)} of free disk space but there are ${megabytes(bavail * bsize)}; free some or choose another 'output'`,
  );
}

/** The latest checkpoint in `folder`, or null. What a killed writer left is cleared away. */
export async function latestCheckpoint(folder: string): Promise<Checkpoint | null> {
  await removeLeftovers(folder);
  const name = (await checkpointNames(folder)).at(-1);
  if (name === undefined) return null;
  const path = join(folder, name);
  const { files: _, ...info } = await readIndex(path);
  return { ...info, path };
}

async function checkpointNames(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.filter((name) => /^step-\d{8,}$/.test(name)).sort();
}

/** Bytes as stored, as {@link Tensor.write} takes them: bf16 is widened. */
function hostData({ dtype }: Tensor, data: Uint8Array<ArrayBuffer>): TensorData {
  if (dtype === 'u8') return data;
  if (dtype === 'f32') return new Float32Array(data.buffer);
  return new Float32Array(Uint32Array.from(new Uint16Array(data.buffer), (half) => half << 16).buffer);
}

async function readIndex(path: string): Promise<Index> {
  return JSON.parse(await readFile(join(path, infoFile), 'utf8')) as Index;
}

/**
 * Writes the tensors of a checkpoint over those of `state`, whatever number of ranks it was written by: each rank reads the parts
 * of the files that its own tensors consist of.
 * @param layout of the state, by its names
 * @param rank whose state it is, where it is a part; default: 0, the whole
 * @throws {UserError} when names, shapes or dtypes differ: a checkpoint of another model
 */
export async function restoreCheckpoint(
  checkpoint: Checkpoint,
  state: ReadonlyMap<string, Tensor>,
  layout: ReadonlyMap<string, StateLayout>,
  rank = 0,
): Promise<void> {
  const read = await openState(checkpoint, state, layout);
  for (const [name, tensor] of state) tensor.write(hostData(tensor, await read(name, rank * tensor.size, tensor.size)));
}

/** The elements of a tensor of the state from `start` on; beyond its end zeros. */
type ReadState = (name: string, start: number, count: number) => Promise<Uint8Array<ArrayBuffer>>;

async function openState(
  checkpoint: Checkpoint,
  state: ReadonlyMap<string, Tensor>,
  layout: ReadonlyMap<string, StateLayout>,
): Promise<ReadState> {
  const names = (await readIndex(checkpoint.path)).files;
  const lengthOf = ({ whole, block }: StateLayout) =>
    names.length === 1 ? Math.ceil(whole / block) : shardLength(whole, names.length) / block;
  const lengths = new Map([...layout].map(([name, each]) => [name, lengthOf(each)]));
  const paths = names.map((name) => join(checkpoint.path, name));
  const entries = paths.map((path) => stateEntries(path, state, lengths));
  return async (name, start, count) => {
    const bytes = dtypeSize[state.get(name)!.dtype];
    const length = lengths.get(name)!;
    const data = new Uint8Array(count * bytes);
    for (const [index, path] of paths.entries()) {
      const begin = Math.max(start, index * length);
      const end = Math.min(start + count, (index + 1) * length);
      if (begin >= end) continue;
      const target = data.subarray((begin - start) * bytes, (end - start) * bytes);
      await readFully(path, target, entries[index]!.get(name)!.offset + (begin - index * length) * bytes);
    }
    return data;
  };
}

/**
 * The same for one of the ranks that hold a model together, whose state is a part of what is written, or a shard of that part.
 * @param partOf the state, by its names
 * @param holders the ranks that have the other shards, if any
 */
export async function restoreParts(
  checkpoint: Checkpoint,
  state: ReadonlyMap<string, Tensor>,
  layout: ReadonlyMap<string, StateLayout>,
  partOf: (name: string) => Part,
  holders: Communicator | null,
): Promise<void> {
  const read = await openState(checkpoint, state, layout);
  for (const [name, tensor] of state) {
    const part = partOf(name);
    const whole = await read(
      name,
      0,
      part.whole.reduce((a, b) => a * b, 1),
    );
    const values = takePart(hostData(tensor, whole) as Float32Array, part);
    const start = (holders?.rank ?? 0) * tensor.size;
    const own = values.subarray(start, start + tensor.size);
    const padded = own.length === tensor.size ? own : new (values.constructor as Float32ArrayConstructor)(tensor.size);
    if (padded !== own) padded.set(own);
    tensor.write(padded);
  }
}

async function readFully(path: string, into: Uint8Array, position: number): Promise<void> {
  await using file = await open(path);
  // A single read takes at most 2 GiB.
  for (let at = 0; at < into.length; ) {
    const { bytesRead } = await file.read(into, at, Math.min(into.length - at, 1 << 30), position + at);
    if (bytesRead === 0)
      throw new UserError(`${path}: Expected ${into.length} bytes at ${position} but it ends; remove the checkpoint`);
    at += bytesRead;
  }
}

/** What a file of a checkpoint has, which must be `lengths` of what is wanted. */
function stateEntries(
  path: string,
  state: ReadonlyMap<string, Tensor>,
  lengths: ReadonlyMap<string, number>,
): Map<string, WeightEntry> {
  const opened = openWeightFile(path);
  native.closeWeights(opened.file);
  const entries = new Map(opened.entries.map((entry) => [entry.name, entry]));
  for (const [name, tensor] of state) {
    const entry = entries.get(name);
    const found = entry ? `${entry.dtype}[${entry.shape.join(', ')}]` : 'nothing';
    const other = name.endsWith('.m') ? 'mCodes' : 'm';
    if (!entry && entries.has(`${name.slice(0, name.lastIndexOf('.'))}.${other}`))
      throw new UserError(
        `${path}: Expected '${name}' but it has '${other}': with another 'mesh.tp' blocks of 8-bit moments end within a rank's part; go on with that of the checkpoint, or choose another 'output'`,
      );
    const expected = `${tensor.dtype.toUpperCase()}[${lengths.get(name)}]`;
    if (found !== expected) {
      throw new UserError(
        `${path}: Expected '${name}' to be ${expected} but received ${found}: a checkpoint of another model; choose another 'output'`,
      );
    }
  }
  return entries;
}
