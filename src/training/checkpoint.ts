// Checkpoints of a run: master weights, optimizer state and the step, from which the run goes on bit for bit. Everything
// else (order of the data, dropout, learning rate) is a function of the settings and the step.

import { open, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { native } from '../native.js';
import { dtypeSize, type TensorData } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import { type TensorToWrite, tensorToWrite, writeSafetensors } from '../weights/safetensors_writer.js';
import { openWeightFile } from '../weights/weight_source.js';
import { removeLeftovers, writeFolder } from './atomic_folder.js';

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

const stateFile = 'state.safetensors';
const infoFile = 'checkpoint.json';

/**
 * Writes `<folder>/step-<info.step>` whole or not at all, then removes all but the latest `keepLast`.
 * @throws {UserError} when the disk has too little room, before anything is written
 */
export async function saveCheckpoint(
  folder: string,
  info: CheckpointInfo,
  state: ReadonlyMap<string, Tensor>,
  keepLast: number,
): Promise<Checkpoint> {
  const path = join(folder, `step-${String(info.step).padStart(8, '0')}`);
  await writeFolder(path, async (temporary) => {
    await expectRoom(temporary, tensorBytes(state));
    await writeSafetensors(join(temporary, stateFile), tensorsToWrite(state));
    await writeFile(join(temporary, infoFile), `${JSON.stringify(info)}\n`);
  });
  const old = (await checkpointNames(folder)).slice(0, -keepLast);
  for (const name of old) await rm(join(folder, name), { recursive: true });
  return { ...info, path };
}

/** Named tensors as a file takes them. */
export function tensorsToWrite(tensors: ReadonlyMap<string, Tensor>): TensorToWrite[] {
  return [...tensors].map(([name, tensor]) => tensorToWrite(name, tensor));
}

export function tensorBytes(tensors: ReadonlyMap<string, Tensor>): number {
  return [...tensors.values()].reduce((sum, { size, dtype }) => sum + size * dtypeSize[dtype], 0);
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
  const info = JSON.parse(await readFile(join(path, infoFile), 'utf8')) as CheckpointInfo;
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

/**
 * Writes the tensors of a checkpoint over those of `state`.
 * @throws {UserError} when names, shapes or dtypes differ: a checkpoint of another model
 */
export async function restoreCheckpoint(checkpoint: Checkpoint, state: ReadonlyMap<string, Tensor>): Promise<void> {
  const path = join(checkpoint.path, stateFile);
  const opened = openWeightFile(path);
  native.closeWeights(opened.file);
  const entries = new Map(opened.entries.map((entry) => [entry.name, entry]));
  for (const [name, tensor] of state) {
    const entry = entries.get(name);
    const found = entry ? `${entry.dtype}[${entry.shape.join(', ')}]` : 'nothing';
    const expected = `${tensor.dtype.toUpperCase()}[${tensor.shape.join(', ')}]`;
    if (found !== expected) {
      throw new UserError(
        `${path}: Expected '${name}' to be ${expected} but received ${found}: a checkpoint of another model; choose another 'output'`,
      );
    }
  }
  await using file = await open(path);
  for (const [name, tensor] of state) {
    const { offset, bytes } = entries.get(name)!;
    const data = new Uint8Array(bytes);
    const { bytesRead } = await file.read(data, 0, bytes, offset);
    if (bytesRead !== bytes)
      throw new UserError(
        `${path}: Expected ${bytes} bytes of '${name}' but received ${bytesRead}; remove the checkpoint`,
      );
    tensor.write(hostData(tensor, data));
  }
}
