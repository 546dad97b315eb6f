/** The tensors of one model, wherever its files keep them. */
import { open } from 'node:fs/promises';
import { UserError } from '../errors.js';
import { native, type WeightEntry } from '../native.js';
import { dtypeNumber } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

export interface WeightSource {
  /** By the names of transformers, GGUF files too. `dtype` is as the file has it: F32, BF16, Q4_1, … */
  entries(): Map<string, { dtype: string; shape: number[] }>;
  /**
   * Enqueues reading, dequantising and converting a tensor to the dtype of `into`.
   * @param into contiguous f32 or bf16 of the tensor's shape
   */
  load(name: string, into: Tensor): void;
  close(): void;
}

interface OpenFile {
  format: string;
  path: string;
  file: number;
  entries: WeightEntry[];
  metadata: Record<string, unknown>;
}

/** @throws UserError for a file that is missing, truncated or malformed */
export function openWeightFile(path: string): OpenFile {
  let opened: ReturnType<typeof native.openWeights>;
  try {
    opened = native.openWeights(path);
  } catch (error) {
    throw new UserError(error instanceof Error ? error.message : String(error));
  }
  const { file, format, entries, metadata } = opened;
  return { path, file, format, entries, metadata: JSON.parse(metadata) as Record<string, unknown> };
}

interface Location {
  file: OpenFile;
  entry: number;
  unpermuteHeads: number;
}

/** Owns open weight files and finds tensors in them by name. */
export class WeightFiles implements WeightSource {
  readonly #path: string;
  readonly #files: OpenFile[] = [];
  readonly #locations = new Map<string, Location>();

  /** @param path what errors name */
  constructor(path: string) {
    this.#path = path;
  }

  /** Takes over an open file, to be closed with the rest. Its tensors are added one by one. */
  own(file: OpenFile): void {
    this.#files.push(file);
  }

  add(name: string, file: OpenFile, entry: number, unpermuteHeads = 0): void {
    if (this.#locations.has(name))
      throw new UserError(`${this.#path}: tensor '${name}' is in two files; keep one and correct the index`);
    this.#locations.set(name, { file, entry, unpermuteHeads });
  }

  entries(): Map<string, { dtype: string; shape: number[] }> {
    return new Map(
      [...this.#locations].map(([name, { file, entry }]) => {
        const { dtype, shape } = file.entries[entry]!;
        return [name, { dtype, shape }];
      }),
    );
  }

  load(name: string, into: Tensor): void {
    const location = this.#locations.get(name);
    if (location === undefined)
      throw new UserError(
        `${this.#path}: weight '${name}' is missing; the download may be incomplete, fetch the model again`,
      );
    const { file, entry, unpermuteHeads } = location;
    const { shape } = file.entries[entry]!;
    if (into.shape.join() !== shape.join() || !into.contiguous || (into.dtype !== 'f32' && into.dtype !== 'bf16'))
      throw new Error(
        `Expected 'into' to be a contiguous f32 or bf16 tensor of shape [${shape.join(', ')}] for weight '${name}' but received ${into}`,
      );
    native.readWeights(
      into.device.id,
      file.file,
      entry,
      into.handle,
      into.offset * (into.dtype === 'f32' ? 4 : 2),
      dtypeNumber[into.dtype],
      unpermuteHeads,
    );
    into.bumpVersion();
  }

  close(): void {
    for (const file of this.#files.splice(0)) native.closeWeights(file.file);
    this.#locations.clear();
  }
}

/** The values of a small f32 tensor, without a device. @throws UserError when it is stored as something else */
export async function readF32(path: string, entry: WeightEntry): Promise<number[]> {
  if (entry.dtype !== 'F32' || entry.bytes > 1 << 20)
    throw new UserError(`${path}: Expected the tensor '${entry.name}' to be a small F32 one; convert the model again`);
  await using file = await open(path);
  const bytes = Buffer.alloc(entry.bytes);
  await file.read(bytes, 0, entry.bytes, entry.offset);
  return Array.from({ length: entry.bytes / 4 }, (_, index) => bytes.readFloatLE(4 * index));
}
