import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import {
  type TensorToWrite,
  tensorToWrite,
  writeModelWeights,
  writeSafetensors,
} from '../../src/weights/safetensors_writer.js';
import { openWeightFile } from '../../src/weights/weight_source.js';
import { readSafetensors } from '../support/safetensors.js';
import { f32, temporaryFolder } from './files.js';

const floats = (name: string, values: number[], shape = [values.length]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  read: async () => f32(values),
});

describe('writeSafetensors', () => {
  test('writes what other readers read, aligned, with the format that transformers wants', async () => {
    const path = join(temporaryFolder(), 'a.safetensors');
    await writeSafetensors(path, [
      { name: 'bytes', dtype: 'U8', shape: [3], read: async () => Uint8Array.of(1, 2, 3) },
      { name: 'half"é', dtype: 'BF16', shape: [1], read: async () => Uint8Array.of(0x80, 0x3f) },
      floats('z', [1, 2, 3, 4], [2, 2]),
      floats('empty', [], [0, 5]),
      { name: 'scalar', dtype: 'I32', shape: [], read: async () => Uint8Array.of(7, 0, 0, 0) },
    ]);
    const read = readSafetensors(path);
    expect(read.get('z')).toEqual({ shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) });
    expect(read.get('half"é')).toEqual({ shape: [1], data: Float32Array.of(1) });
    expect(read.get('bytes')).toEqual({ shape: [3], data: Uint8Array.of(1, 2, 3) });
    expect(read.get('scalar')).toEqual({ shape: [], data: Int32Array.of(7) });
    const file = openWeightFile(path);
    native.closeWeights(file.file);
    expect(file.metadata).toEqual({ format: 'pt' });
    const size = { F32: 4, I32: 4, BF16: 2, U8: 1 } as Record<string, number>;
    for (const { name, dtype, offset } of file.entries) expect(offset % size[dtype]!, name).toBe(0);
  });

  test('writes tensors of a device', async () => {
    const path = join(temporaryFolder(), 'a.safetensors');
    const device = Device.open('cpu', { threads: 1 });
    const wide = Tensor.from(device, Float32Array.of(1, 2, 3, 4), [2, 2]);
    const low = Tensor.from(device, Float32Array.of(1, -2), [2], 'bf16');
    await writeSafetensors(path, [tensorToWrite('wide', wide), tensorToWrite('low', low)], { a: 'b' });
    for (const tensor of [wide, low]) tensor.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
    expect(readSafetensors(path).get('wide')!.data).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(readSafetensors(path).get('low')!.data).toEqual(Float32Array.of(1, -2));
  });

  test('leaves nothing behind when a tensor fails, and an older file alone', async () => {
    const folder = temporaryFolder();
    const path = join(folder, 'a.safetensors');
    await writeSafetensors(path, [floats('a', [1])]);
    const failing = { ...floats('b', [1]), read: () => Promise.reject(new Error('poisoned')) };
    await expect(writeSafetensors(path, [floats('a', [2]), failing])).rejects.toThrow('poisoned');
    const short = { ...floats('b', [1]), shape: [2] };
    await expect(writeSafetensors(path, [short])).rejects.toThrow(/'b' to give 8 bytes for its shape but received 4/);
    await expect(writeSafetensors(path, [floats('a', [1]), floats('a', [1])])).rejects.toThrow(/names of their own/);
    expect(readdirSync(folder)).toEqual(['a.safetensors']);
    expect(readSafetensors(path).get('a')!.data).toEqual(Float32Array.of(1));
  });

  test('says which file cannot be written', async () => {
    const path = join(temporaryFolder(), 'none', 'a.safetensors');
    await expect(writeSafetensors(path, [])).rejects.toThrow(`${path}: cannot be written (ENOENT); free space`);
  });
});

describe('writeModelWeights', () => {
  test('writes one file, or shards with an index', async () => {
    const folder = temporaryFolder();
    const tensors = [floats('a', [1, 2]), floats('b', [3]), floats('c', [4, 5, 6]), floats('d', [7])];
    expect(await writeModelWeights(folder, tensors)).toEqual(['model.safetensors']);
    const sharded = temporaryFolder();
    const names = await writeModelWeights(sharded, tensors, { maxShardBytes: 12 });
    expect(names).toEqual([
      'model-00001-of-00003.safetensors',
      'model-00002-of-00003.safetensors',
      'model-00003-of-00003.safetensors',
      'model.safetensors.index.json',
    ]);
    expect(readdirSync(sharded).sort()).toEqual(names);
    const index = JSON.parse(readFileSync(join(sharded, 'model.safetensors.index.json'), 'utf8'));
    expect(index).toEqual({
      metadata: { total_size: 28 },
      weight_map: { a: names[0], b: names[0], c: names[1], d: names[2] },
    });
    for (const [name, file] of Object.entries<string>(index.weight_map))
      expect(readSafetensors(join(sharded, file)).get(name)!.data).toEqual(
        readSafetensors(join(folder, 'model.safetensors')).get(name)!.data,
      );
    expect(existsSync(join(sharded, 'model.safetensors'))).toBe(false);
  });
});
