/** Parts of tensors are the same numbers as in the whole, and nothing else of the file is read for them. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Tensor } from '../../src/tensor/tensor.js';
import { openWeightFile, WeightFiles } from '../../src/weights/weight_source.js';
import { device } from './device.js';
import { f32, ggufFile, safetensorsFile, seeded, temporaryFile } from './files.js';

/** Opens the first tensor of a file as `w`. */
function opened(path: string, heads = 0): { source: WeightFiles; shape: number[] } {
  const file = openWeightFile(path);
  const source = new WeightFiles(path);
  source.own(file);
  source.add('w', file, 0, heads);
  return { source, shape: file.entries[0]!.shape };
}

async function read(
  source: WeightFiles,
  shape: number[],
  start?: number[],
  dtype: 'f32' | 'bf16' = 'f32',
): Promise<Float32Array> {
  using into = Tensor.empty(device, shape, dtype);
  source.load('w', into, start);
  return into.readFloats();
}

/** Values of whole f16 scales and random bytes: every bit pattern of a block of integers is a number. */
function blocks(count: number, bytes: number, scales: number[]): Buffer {
  const random = seeded(3);
  const data = Buffer.from(Array.from({ length: count * bytes }, () => Math.floor(random() * 256)));
  for (let block = 0; block < count; block += 1)
    for (const at of scales) data.writeUInt16LE(0x3000 + block, block * bytes + at); // small f16 numbers
  return data;
}

const matrix = (rows: number, columns: number) => f32(Array.from({ length: rows * columns }, (_, i) => Math.sin(i)));
const safetensors = (dtype: string, shape: number[], data: Buffer) =>
  safetensorsFile({ w: { dtype, shape, data_offsets: [0, data.length] } }, data);
const gguf = (type: number, shape: number[], data: Buffer) => ggufFile({}, [{ name: 'w', shape, type, data }]);
const halves = Buffer.from(Uint16Array.from({ length: 12 * 34 }, (_, i) => 0x3c00 + 17 * i).buffer);

const files: [string, Buffer, number][] = [
  ['F32', safetensors('F32', [12, 34], matrix(12, 34)), 0],
  ['BF16', safetensors('BF16', [12, 34], halves), 0],
  ['F16', safetensors('F16', [12, 34], halves), 0],
  ['F32 with heads to put in order', gguf(0, [12, 34], matrix(12, 34)), 3],
  ['Q4_0', gguf(2, [12, 96], blocks(36, 18, [0])), 0],
  ['Q8_0', gguf(8, [12, 96], blocks(36, 34, [0])), 0],
  ['Q8_0 with heads to put in order', gguf(8, [12, 96], blocks(36, 34, [0])), 2],
  ['Q4_K', gguf(12, [12, 512], blocks(24, 144, [0, 2])), 0],
];

describe.each(files)('%s', (_, contents, heads) => {
  test.each(['f32', 'bf16'] as const)('rows, columns and both, in %s', async (dtype) => {
    const { source, shape } = opened(temporaryFile('file', contents), heads);
    const [rows, columns] = shape as [number, number];
    const whole = await read(source, shape, undefined, dtype);
    const half = columns / 2;
    const third = Math.floor(columns / 3);
    for (const [start, size] of [
      [[0, 0], shape],
      [
        [3, 0],
        [5, columns],
      ],
      [
        [rows - 1, 0],
        [1, columns],
      ],
      [
        [0, half],
        [rows, half],
      ],
      [
        [0, third],
        [rows, third],
      ],
      [
        [2, third + 1],
        [7, 1],
      ],
      [
        [4, columns - 3],
        [2, 3],
      ],
    ] as [[number, number], [number, number]][]) {
      const expected = Array.from({ length: size[0] * size[1] }, (_, i) => {
        return whole[(start[0] + Math.floor(i / size[1])) * columns + start[1] + (i % size[1])]!;
      });
      expect([...(await read(source, size, start, dtype))], `${size} from ${start}`).toEqual(expected);
    }
    source.close();
  });
});

test.each([
  ['F8_E4M3', 'fp8', [12, 48]],
  ['U8', 'u8', [12, 48]],
  ['U8', 'u8', [12, 3, 16]],
] as const)('%s is cut as it is, %s of shape %o', async (stored, dtype, shape) => {
  const data = Buffer.from(Array.from({ length: 12 * 48 }, (_, i) => (7 * i) % 256));
  const { source } = opened(temporaryFile('file', safetensors(stored, [...shape], data)));
  using part = Tensor.empty(device, [5, 17], dtype);
  source.load('w', part, [3, 30]);
  const rows = [3, 4, 5, 6, 7].flatMap((row) => [...data.subarray(48 * row + 30, 48 * row + 47)]);
  expect([...(await part.readBytes())]).toEqual(rows);
  using numbers = Tensor.empty(device, shape);
  source.load('w', numbers);
  await expect(numbers.read()).rejects.toThrow(`has dtype ${stored}, which cannot be read as numbers`);
  using other = Tensor.empty(device, shape, dtype === 'u8' ? 'fp8' : 'u8');
  source.load('w', other);
  await expect(other.read()).rejects.toThrow(`has dtype ${stored} where`);
  source.close();
});

test('a vector is cut along its one dimension', async () => {
  const { source } = opened(temporaryFile('file', safetensors('F32', [9], matrix(1, 9))));
  const whole = await read(source, [9]);
  expect([...(await read(source, [4], [5]))]).toEqual([...whole.subarray(5)]);
  source.close();
});

test('what lies outside is refused', () => {
  const { source } = opened(temporaryFile('file', safetensors('F32', [12, 34], matrix(12, 34))));
  for (const [size, start] of [
    [
      [5, 34],
      [8, 0],
    ],
    [
      [12, 20],
      [0, 15],
    ],
    [
      [12, 20],
      [0, -1],
    ],
    [[3], [0]],
  ] as number[][][]) {
    using into = Tensor.empty(device, size!);
    expect(() => source.load('w', into, start)).toThrow(
      /^Expected 'into' to be .* of shape \[12, 34\] or of a part of it/,
    );
  }
  source.close();
});

/** Bytes of the mapping of `path` that this process has touched. */
function residentBytes(path: string): number {
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/);
  const own = mappings.filter((mapping) => mapping.split('\n')[0]!.endsWith(` ${path}`));
  expect(own.length).toBeGreaterThan(0);
  return own.reduce((sum, mapping) => sum + 1024 * Number(/^Rss: +(\d+) kB/m.exec(mapping)![1]), 0);
}

// To the byte, and for columns too, mutated_files.test.ts has it.
test('of a file a rank touches the pages of its rows alone', async () => {
  const [rows, columns] = [16, 1 << 18];
  const bytes = 4 * rows * columns;
  const data = Buffer.from(Float32Array.from({ length: rows * columns }, (_, i) => i).buffer);
  const path = temporaryFile('file', safetensors('F32', [rows, columns], data));
  const { source } = opened(path);
  const before = residentBytes(path);
  const values = await read(source, [4, columns], [8, 0]);
  expect(values[0]).toBe(8 * columns);
  // The system maps some neighbouring pages with those that are touched.
  expect(residentBytes(path) - before).toBeLessThan(0.45 * bytes);
  await read(source, [rows, columns]);
  expect(residentBytes(path)).toBeGreaterThan(0.95 * bytes);
  source.close();
});
