/** The tensors of one model, wherever its files keep them. */
import { open } from 'node:fs/promises';
import { UserError } from '../errors.js';
import { native, type WeightEntry } from '../native.js';
import { dtypeNumber, dtypeSize } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

export interface WeightSource {
  /** By the names of transformers, GGUF files too. `dtype` is as the file has it: F32, BF16, Q4_1, … */
  entries(): Map<string, { dtype: string; shape: number[] }>;
  /**
   * Enqueues reading, dequantising and converting a tensor, or a part of it, to the dtype of `into`. Of the file only that is read.
   * @param into contiguous, of the tensor's shape, or of a part's: rows of it, and of a matrix columns; a tensor of three dimensions
   *   may be taken as a matrix. f32 or bf16; or fp8 or u8, for what the file has in these
   * @param start where the part begins, by dimension; default: `into` is for the whole
   */
  load(name: string, into: Tensor, start?: readonly number[]): void;
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

  load(name: string, into: Tensor, start?: readonly number[]): void {
    const location = this.#locations.get(name);
    if (location === undefined)
      throw new UserError(
        `${this.#path}: weight '${name}' is missing; the download may be incomplete, fetch the model again`,
      );
    const { file, entry, unpermuteHeads } = location;
    const stored = file.entries[entry]!.shape;
    const asMatrix = stored.length === 3 && into.shape.length === 2;
    const shape = asMatrix ? [stored[0]!, stored[1]! * stored[2]!] : stored;
    // The native side takes a matrix: the first dimension by all the others.
    const fits = shape.every((size, axis) => {
      const cut = start !== undefined && (axis === 0 || shape.length === 2);
      return cut ? start[axis]! >= 0 && start[axis]! + into.shape[axis]! <= size : into.shape[axis] === size;
    });
    if (!fits || into.shape.length !== shape.length || !into.contiguous || into.dtype === 'i32')
      throw new Error(
        `Expected 'into' to be a contiguous f32, bf16, fp8 or u8 tensor of shape [${shape.join(', ')}]${start ? ' or of a part of it' : ''} for weight '${name}' but received ${into}${start ? ` from [${start.join(', ')}]` : ''}`,
      );
    const rows = into.shape[0] ?? 1;
    native.readWeights(
      into.device.id,
      file.file,
      entry,
      into.handle,
      into.offset * dtypeSize[into.dtype],
      dtypeNumber[into.dtype],
      unpermuteHeads,
      start?.[0] ?? 0,
      rows,
      start?.[1] ?? 0,
      rows === 0 ? 0 : into.size / rows,
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
