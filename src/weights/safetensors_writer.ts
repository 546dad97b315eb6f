/** safetensors files, written so that a reader finds them whole or not at all. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { UserError } from '../errors.js';
import type { Tensor } from '../tensor/tensor.js';

export interface TensorToWrite {
  name: string;
  dtype: 'F32' | 'BF16' | 'I32' | 'U8' | 'F8_E4M3';
  shape: readonly number[];
  /** The elements, contiguous, little-endian. Called once, when it is this tensor's turn: one is in memory at a time. */
  read(): Promise<Uint8Array>;
}

const elementBytes = { F32: 4, BF16: 2, I32: 4, U8: 1, F8_E4M3: 1 } as const;
const fileDTypes = { f32: 'F32', bf16: 'BF16', i32: 'I32', u8: 'U8', fp8: 'F8_E4M3' } as const;

/** A tensor of a device as what is written of it. Must live until it is written. */
export function tensorToWrite(name: string, tensor: Tensor): TensorToWrite {
  return { name, dtype: fileDTypes[tensor.dtype], shape: tensor.shape, read: () => tensor.readBytes() };
}

function byteLength({ dtype, shape }: TensorToWrite): number {
  return shape.reduce((product, size) => product * size, elementBytes[dtype]);
}

/**
 * Writes one file: to a temporary name beside it, synced, then renamed. When it fails nothing is left behind.
 * @param metadata pairs for `__metadata__`; default `{ format: 'pt' }`, which transformers wants to see
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  const ordered = inFileOrder(tensors);
  const temporary = join(dirname(path), `.${basename(path)}.tmp-${process.pid}`);
  let file: FileHandle | null = null;
  try {
    file = await open(temporary, 'w');
    await writeAll(file, headerOf(ordered, metadata));
    for (const tensor of ordered) {
      const bytes = await tensor.read();
      if (bytes.byteLength !== byteLength(tensor))
        throw new Error(
          `Expected '${tensor.name}' to give ${byteLength(tensor)} bytes for its shape but received ${bytes.byteLength}`,
        );
      await writeAll(file, bytes);
    }
    await file.sync();
    await file.close();
    file = null;
    await rename(temporary, path);
  } catch (error) {
    await file?.close();
    await rm(temporary, { force: true });
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new UserError(`${path}: cannot be written (${code}); free space on the disk or write elsewhere`);
  }
}

/** The order in which {@link writeSafetensors} reads tensors: larger elements first keeps each aligned to its element size. */
export function inFileOrder(tensors: readonly TensorToWrite[]): TensorToWrite[] {
  return [...tensors].sort(
    (a, b) => elementBytes[b.dtype] - elementBytes[a.dtype] || (a.name < b.name ? -1 : Number(a.name > b.name)),
  );
}

function headerOf(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Buffer {
  const entries: [string, unknown][] = [['__metadata__', metadata]];
  let end = 0;
  for (const tensor of tensors) {
    const begin = end;
    end += byteLength(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }]);
  }
  if (new Set(entries.map(([name]) => name)).size !== entries.length)
    throw new Error(`Expected 'tensors' to have names of their own, other than '__metadata__'`);
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  // The data begins at a multiple of 8; the format allows spaces behind the header for it.
  const length = Math.ceil(json.length / 8) * 8;
  const header = Buffer.alloc(8 + length, ' ');
  header.writeBigUInt64LE(BigInt(length));
  json.copy(header, 8);
  return header;
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  // A single write takes at most 2 GiB.
  for (let start = 0; start < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, start, Math.min(bytes.byteLength - start, 1 << 30));
    start += bytesWritten;
  }
}

export interface ModelWeightsOptions {
  /** A file beyond this is split and an index written; default 5 GB, as transformers does. */
  maxShardBytes?: number;
  metadata?: Readonly<Record<string, string>>;
}

/**
 * Writes a model's weights into a folder: model.safetensors, or model-00001-of-0000N.safetensors with
 * model.safetensors.index.json, which comes last.
 * @returns the names of the files
 */
export async function writeModelWeights(
  folder: string,
  tensors: readonly TensorToWrite[],
  options: ModelWeightsOptions = {},
): Promise<string[]> {
  const limit = options.maxShardBytes ?? 5e9;
  const shards: TensorToWrite[][] = [[]];
  let bytes = 0;
  let total = 0;
  for (const tensor of tensors) {
    const size = byteLength(tensor);
    if (bytes > 0 && bytes + size > limit) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(tensor);
    bytes += size;
    total += size;
  }
  if (shards.length === 1) {
    await writeSafetensors(join(folder, 'model.safetensors'), tensors, options.metadata);
    return ['model.safetensors'];
  }
  const number = (value: number): string => String(value).padStart(5, '0');
  const names = shards.map((_, index) => `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`);
  for (const [index, shard] of shards.entries())
    await writeSafetensors(join(folder, names[index]!), shard, options.metadata);
  const weightMap = Object.fromEntries(
    shards.flatMap((shard, index) => shard.map((tensor) => [tensor.name, names[index]!])),
  );
  const index = JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }, null, 2);
  const indexPath = join(folder, 'model.safetensors.index.json');
  const temporary = join(folder, `.model.safetensors.index.json.tmp-${process.pid}`);
  await using file = await open(temporary, 'w');
  await writeAll(file, Buffer.from(`${index}\n`));
  await file.sync();
  await rename(temporary, indexPath);
  return [...names, basename(indexPath)];
}
