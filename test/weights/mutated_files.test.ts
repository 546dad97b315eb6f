// Weight files with seeded damage: read or refused in one line, never a crash. Once through the addon, once under sanitizers.
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { packageRoot } from '../../src/native.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { openWeightFile, WeightFiles } from '../../src/weights/weight_source.js';
import { device } from './device.js';
import {
  f32,
  type GgufTensor,
  ggufFile,
  type MetadataValue,
  safetensorsFile,
  seeded,
  temporaryFolder,
} from './files.js';

const metadata: Record<string, MetadataValue> = {
  'general.architecture': 'llama',
  'llama.block_count': 2,
  'tokenizer.ggml.tokens': ['a', 'b', 'cé'],
  'tokenizer.ggml.token_type': [1, 2, 3],
};
const tensors: GgufTensor[] = [
  { name: 'token_embd.weight', shape: [4, 32], type: 8, data: Buffer.alloc(4 * 34, 3) },
  { name: 'output_norm.weight', shape: [32], type: 0, data: f32(Array(32).fill(2)) },
  { name: 'blk.0.attn_q.weight', shape: [2, 256], type: 12, data: Buffer.alloc(288, 5) },
];
const originals = {
  'a.gguf': ggufFile(metadata, tensors),
  'a.safetensors': safetensorsFile(
    {
      __metadata__: { format: 'pt' },
      a: { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
      b: { dtype: 'BF16', shape: [4], data_offsets: [24, 32] },
    },
    f32(Array(8).fill(1)),
  ),
};

describe('mutated files', () => {
  test.each(Object.entries(originals))('%s is read or refused in one line, 400 times over', async (name, original) => {
    const random = seeded(11);
    const folder = temporaryFolder();
    let opened = 0;
    for (let round = 0; round < 400; round++) {
      const path = join(folder, `${round}-${name}`);
      writeFileSync(path, mutate(original, random));
      let file: ReturnType<typeof openWeightFile>;
      try {
        file = openWeightFile(path);
      } catch (error) {
        expect((error as Error).message).toMatch(/^[^\n\r]+; [^\n\r]+$/);
        continue;
      }
      opened++;
      const source = new WeightFiles(path);
      source.own(file);
      for (const [entry, { name: tensorName, shape }] of file.entries.entries()) {
        if (shape.length > 4 || shape.reduce((product, size) => product * size, 1) > 1e6) continue;
        source.add(tensorName, file, entry, entry);
        using into = Tensor.empty(device, shape);
        source.load(tensorName, into);
        await into.read().catch((error: Error) => expect(error.message).toMatch(/^[^\n]+/));
      }
      source.close();
    }
    expect(opened, 'some mutations leave the header alone').toBeGreaterThan(10);
    expect(opened, 'most do not').toBeLessThan(390);
  });
});

describe('mutated files under sanitizers', () => {
  test('never read out of bounds', ({ skip }) => {
    const folder = temporaryFolder();
    const program = join(folder, 'weight_file_fuzz');
    const sources = ['weight_file', 'safetensors', 'gguf', 'ggml_blocks'].map((name) => `native/${name}.cpp`);
    const flags = ['-std=c++20', '-O0', '-g1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];
    const compiler = process.env.CXX ?? 'c++';
    const compile = (input: string[], output: string) =>
      spawnSync(compiler, [...flags, ...input, '-o', output], { cwd: packageRoot, encoding: 'utf8' });
    writeFileSync(join(folder, 'empty.cpp'), 'int main() {}');
    if (compile([join(folder, 'empty.cpp')], join(folder, 'empty')).status !== 0)
      skip(`${compiler} has no address sanitizer here`);
    const compiled = compile(['test/weights/weight_file_fuzz.cpp', ...sources], program);
    expect(compiled.stderr).toBe('');

    const seeds = Object.entries(originals).map(([name, contents]) => {
      writeFileSync(join(folder, name), contents);
      return join(folder, name);
    });
    const { status, stdout, stderr } = spawnSync(program, ['1500', '1', folder, ...seeds], { encoding: 'utf8' });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const [opened, refused] = stdout.split(' ').map(Number);
    expect(opened! + refused!).toBe(3000);
    expect(Math.min(opened!, refused!)).toBeGreaterThan(200);
  });
});

/** A few bytes changed, or a piece removed, doubled, or cut off. */
function mutate(original: Buffer, random: () => number): Buffer {
  const bytes = Buffer.from(original);
  const at = (limit: number): number => Math.floor(random() * limit);
  const kind = at(6);
  if (kind === 0) return bytes.subarray(0, at(bytes.length));
  if (kind === 1) {
    const start = at(bytes.length);
    return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + at(40))]);
  }
  if (kind === 2) {
    const start = at(bytes.length);
    return Buffer.concat([bytes.subarray(0, start + at(40)), bytes.subarray(start)]);
  }
  const extremes = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5b, 0x7d];
  for (let count = 1 + at(4); count > 0; count--)
    bytes[at(bytes.length)] = kind === 3 ? at(256) : extremes[at(extremes.length)]!;
  return bytes;
}
