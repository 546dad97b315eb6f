import { execFileSync } from 'node:child_process';
import { truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { native } from '../../src/native.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { openWeightFile, WeightFiles } from '../../src/weights/weight_source.js';
import { goldenJson } from '../support/fixtures.js';
import { device } from './device.js';
import {
  f32,
  type GgufOptions,
  type GgufTensor,
  ggufFile,
  ggufString,
  type MetadataValue,
  safetensorsFile,
  temporaryFile,
  temporaryFolder,
  u32,
  u64,
} from './files.js';

/** Reads tensor `name` of the file as f32, or through bf16. */
async function readTensor(path: string, name: string, dtype: 'f32' | 'bf16' = 'f32', heads = 0): Promise<Float32Array> {
  const file = openWeightFile(path);
  const source = new WeightFiles(path);
  source.own(file);
  try {
    const entry = file.entries.findIndex((candidate) => candidate.name === name);
    source.add(name, file, entry, heads);
    using tensor = Tensor.empty(device, file.entries[entry]!.shape, dtype);
    source.load(name, tensor);
    return (await tensor.read()) as Float32Array;
  } finally {
    source.close();
  }
}

function openError(name: string, contents: Uint8Array | string): string {
  const path = temporaryFile(name, contents);
  try {
    native.closeWeights(openWeightFile(path).file);
  } catch (error) {
    const { message } = error as Error;
    expect(message).toContain(path);
    expect(message, 'one line').not.toMatch(/[\n\r\0]/);
    expect(message, 'a remedy').toMatch(/; .+/);
    return message.replaceAll(path, 'FILE');
  }
  return 'opened';
}

const tensor = (dtype: string, shape: number[], begin: number, end: number) => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

describe('safetensors', () => {
  test('gives names, shapes and metadata, and converts every float dtype', async () => {
    const doubles = Buffer.from(Float64Array.of(1 / 3, -1e300).buffer);
    const halves = Buffer.from(Uint16Array.of(0x3c00, 0x0001, 0x83ff, 0xfc00, 0x7e00, 0x7bff).buffer);
    const path = temporaryFile(
      'a.safetensors',
      safetensorsFile(
        `{"__metadata__":{"format":"pt","\\u00e9\\n":"\\ud83d\\ude42"},
          "odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
          "w\\"eight":{"data_offsets":[1,13],"dtype":"F32","shape":[3,1]},
          "half":{"dtype":"F16","shape":[6],"data_offsets":[13,25]},
          "double":{"dtype":"F64","shape":[2],"data_offsets":[25,41]},
          "brain":{"dtype":"BF16","shape":[1,2],"data_offsets":[41,45]},
          "none":{"dtype":"F32","shape":[0,7],"data_offsets":[45,45]},
          "scalar":{"dtype":"F32","shape":[],"data_offsets":[45,49]}}  `,
        Buffer.concat([
          Buffer.of(7),
          f32([1.5, -0, 3e-39]),
          halves,
          doubles,
          Buffer.of(0x80, 0x3f, 0x01, 0xc0),
          f32([9]),
        ]),
      ),
    );
    const file = openWeightFile(path);
    native.closeWeights(file.file);
    expect(file.metadata).toEqual({ format: 'pt', 'é\n': '🙂' });
    expect(file.entries.map(({ name, dtype, shape }) => [name, dtype, shape])).toEqual([
      ['odd', 'U8', [1]],
      ['w"eight', 'F32', [3, 1]],
      ['half', 'F16', [6]],
      ['double', 'F64', [2]],
      ['brain', 'BF16', [1, 2]],
      ['none', 'F32', [0, 7]],
      ['scalar', 'F32', []],
    ]);
    // Behind one byte of U8, nothing is aligned.
    expect([...(await readTensor(path, 'w"eight'))]).toEqual([1.5, -0, Math.fround(3e-39)]);
    const half = [1, 2 ** -24, -1023 * 2 ** -24, -Infinity, Number.NaN, 65504];
    expect([...(await readTensor(path, 'half'))]).toEqual(half);
    expect([...(await readTensor(path, 'double'))]).toEqual([Math.fround(1 / 3), -Infinity]);
    expect([...(await readTensor(path, 'brain', 'bf16'))]).toEqual([1, -2.015625]);
    expect([...(await readTensor(path, 'brain'))]).toEqual([1, -2.015625]);
    expect([...(await readTensor(path, 'scalar', 'bf16'))]).toEqual([9]);
    await expect(readTensor(path, 'odd')).rejects.toThrow(/tensor 'odd' has dtype U8.*convert the model/);
  });

  test('rounds to bf16 to nearest even', async () => {
    const values = [1 + 2 ** -8, 1 + 3 * 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38, Number.NaN, 1e-40];
    const path = temporaryFile('a.safetensors', safetensorsFile({ w: tensor('F32', [6], 0, 24) }, f32(values)));
    const expected = [
      1,
      1 + 2 ** -6,
      1 + 2 ** -7,
      Infinity,
      Number.NaN,
      71362 * 2 ** -149 - (71362 % 65536) * 2 ** -149,
    ];
    expect([...(await readTensor(path, 'w', 'bf16'))]).toEqual(expected);
  });

  const four = f32([1]);
  test.each<[string, Uint8Array | string, RegExp]>([
    ['an empty file', '', /holds 0 bytes/],
    ['too few bytes', '1234567', /holds 7 bytes/],
    ['a header of terabytes', Buffer.concat([u64(4n << 40n), four]), /claims a header of 4398046511104 bytes/],
    ['a header of 2^64 − 1 bytes', Buffer.concat([u64(2n ** 64n - 1n), four]), /claims a header of/],
    [
      'a header that does not end',
      Buffer.concat([u64(1000), Buffer.from('{}')]),
      /truncated: its header takes 1000 bytes/,
    ],
    ['text', 'Not found: this is an HTML page', /is not a weight file/],
    ['a header that is not UTF-8', safetensorsFile('{"\uFFFD":1}').fill(0xff, 10, 12), /not UTF-8/],
    ['an array', safetensorsFile('[]'), /expected '\{' at byte 8/],
    ['a header cut short', safetensorsFile('{"a":{"dtype":"F32"'), /expected ',' at byte/],
    ['deep nesting', safetensorsFile(`{"a":${'['.repeat(100_000)}`), /expected '\{'/],
    ['text behind the header', safetensorsFile('{}{}'), /expected nothing more/],
    ['an unknown field', safetensorsFile({ a: { ...tensor('F32', [1], 0, 4), x: 1 } }, four), /expected only 'dtype'/],
    ['a missing field', safetensorsFile({ a: { dtype: 'F32', shape: [1] } }, four), /expected 'dtype', 'shape' and/],
    ['a negative size', safetensorsFile({ a: tensor('F32', [-1], 0, 4) }, four), /expected a whole number/],
    ['a fraction', safetensorsFile({ a: tensor('F32', [0.5], 0, 4) }, four), /expected ','/],
    ['a size beyond 64 bits', safetensorsFile(`{"a":{"dtype":"F32","shape":[9${'0'.repeat(30)}]`), /below 2\^63/],
    ['half a surrogate pair', safetensorsFile('{"\\ud83d":1}'), /surrogate/],
    ['an unknown escape', safetensorsFile('{"\\x":1}'), /escape/],
    ['a line break in a name', safetensorsFile('{"a\nb":1}'), /end of a string/],
    ['nine dimensions', safetensorsFile({ a: tensor('F32', Array(9).fill(1), 0, 4) }, four), /at most 8/],
    ['a shape beyond 2^62', safetensorsFile({ a: tensor('F32', [2 ** 40, 2 ** 40], 0, 4) }, four), /impossible shape/],
    [
      'a shape of 2^62 elements',
      safetensorsFile({ a: tensor('F32', [2 ** 31, 2 ** 31], 0, 4) }, four),
      /impossible shape/,
    ],
    [
      'bytes that do not fit the shape',
      safetensorsFile({ a: tensor('F32', [2], 0, 4) }, four),
      /needs 8 bytes.*given 4/,
    ],
    ['an end before the beginning', safetensorsFile({ a: tensor('F32', [1], 4, 0) }, four), /given -4/],
    ['a missing tail', safetensorsFile({ a: tensor('F32', [2], 0, 8) }, four), /truncated: tensor 'a' lies beyond/],
    ['offsets beyond the end', safetensorsFile({ a: tensor('F32', [1], 2 ** 52, 2 ** 52 + 4) }, four), /truncated/],
    [
      'overlapping tensors',
      safetensorsFile(
        { a: tensor('F32', [1], 0, 4), b: tensor('F32', [1], 2, 6), c: tensor('F16', [1], 6, 8) },
        f32([1, 2]),
      ),
      /overlap/,
    ],
    [
      'the same bytes twice',
      safetensorsFile({ a: tensor('F32', [1], 0, 4), b: tensor('F32', [1], 0, 4) }, four),
      /overlap/,
    ],
    [
      'a gap',
      safetensorsFile({ a: tensor('F32', [1], 0, 4) }, f32([1, 2])),
      /holds 8 bytes of data but its tensors take 4/,
    ],
    [
      'one name twice',
      safetensorsFile(
        '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
        f32([1, 2]),
      ),
      /'a' occurs twice/,
    ],
    ['a dtype of nonsense', safetensorsFile({ a: tensor('f\n"', [1], 0, 4) }, four), /impossible dtype 'f\?"'/],
    ['metadata that is no text', safetensorsFile({ __metadata__: { a: 1 } }), /expected '"'/],
  ])('refuses %s', (_, contents, message) => {
    expect(openError('a.safetensors', contents)).toMatch(message);
  });

  test('shortens and cleans the names that it reports', () => {
    const name = `\u0007${'é'.repeat(100)}`;
    const message = openError('a.safetensors', safetensorsFile({ [name]: tensor('F32', [2], 0, 4) }, four));
    expect(message).toContain(`'?${'é'.repeat(39)}…'`);
  });
});

describe('GGUF', () => {
  const formats = goldenJson<{
    formats: { name: string; ggmlType: number; shape: number[]; data: string; values: string }[];
  }>('weight_formats.json').formats;

  test.each(formats)(
    'dequantises $name to the bits of the gguf package',
    async ({ name, ggmlType, shape, data, values }) => {
      const bytes = Buffer.from(data, 'base64');
      const weights: GgufTensor = { name: 'w', shape, type: ggmlType, data: bytes };
      // A row of its own in front, so that nothing is aligned by accident.
      const path = temporaryFile(
        'a.gguf',
        ggufFile({}, [{ name: 'first', shape: [1], type: 0, data: f32([5]) }, weights]),
      );
      const expected = new Float32Array(new Uint8Array(Buffer.from(values, 'base64')).buffer);
      const received = await readTensor(path, 'w');
      expect(Buffer.from(received.buffer).equals(Buffer.from(expected.buffer)), name).toBe(true);
      const rounded = await readTensor(path, 'w', 'bf16');
      expect([...rounded]).toEqual([...expected].map(toBFloat16));
    },
  );

  test('gives metadata of every type as JSON', () => {
    const typed = (type: number, bytes: Uint8Array): MetadataValue => ({ type, bytes });
    const path = temporaryFile(
      'a.gguf',
      ggufFile(
        {
          'general.architecture': 'llama',
          u8: typed(0, Buffer.of(200)),
          i8: typed(1, Buffer.of(200)),
          u16: typed(2, Buffer.of(0xff, 0xff)),
          i16: typed(3, Buffer.of(0xff, 0xff)),
          u32: typed(4, u32(0xffffffff)),
          i32: typed(5, u32(0xffffffff)),
          f32: 1e-5,
          nan: typed(6, f32([Number.NaN])),
          yes: true,
          text: 'a "quoted"\nline \u0001 é 🙂',
          u64: typed(10, u64(2 ** 52)),
          i64: typed(11, u64(2n ** 64n - 5n)),
          f64: typed(12, Buffer.from(Float64Array.of(0.1).buffer)),
          tokens: ['a', 'Ġb', ''],
          types: [1, -3],
          nested: typed(9, Buffer.concat([u32(9), u64(2), u32(0), u64(1), Buffer.of(4), u32(7), u64(0)])),
        },
        [],
      ),
    );
    const file = openWeightFile(path);
    native.closeWeights(file.file);
    expect(file.metadata).toEqual({
      'general.architecture': 'llama',
      u8: 200,
      i8: -56,
      u16: 65535,
      i16: -1,
      u32: 4294967295,
      i32: -1,
      f32: 1e-5,
      nan: null,
      yes: true,
      text: 'a "quoted"\nline \u0001 é 🙂',
      u64: 2 ** 52,
      i64: -5,
      f64: 0.1,
      tokens: ['a', 'Ġb', ''],
      types: [1, -3],
      nested: [[4], []],
    });
  });

  test('puts the rows of query and key back in order', async () => {
    const [heads, headSize, columns] = [3, 8, 32];
    const original = Array.from({ length: heads * headSize }, (_, row) =>
      Array.from({ length: columns }, (_, c) => row + c / 64),
    );
    // As the converter does it: each head's two halves are interleaved.
    const permuted = original.map((_, row) => {
      const [head, within] = [Math.floor(row / headSize), row % headSize];
      return original[head * headSize + (within % 2) * (headSize / 2) + Math.floor(within / 2)]!;
    });
    const shape = [heads * headSize, columns];
    const bias = permuted.map((row) => row[0]!);
    const path = temporaryFile(
      'a.gguf',
      ggufFile({}, [
        { name: 'q', shape, type: 0, data: f32(permuted.flat()) },
        { name: 'q8', shape, type: 8, data: Buffer.concat(permuted.map((row) => q8Row(row[0]!))) },
        { name: 'bias', shape: [heads * headSize], type: 0, data: f32(bias) },
      ]),
    );
    expect([...(await readTensor(path, 'q', 'f32', heads))]).toEqual(original.flat());
    expect([...(await readTensor(path, 'q'))]).toEqual(permuted.flat());
    expect([...(await readTensor(path, 'q8', 'bf16', heads))]).toEqual(
      original.flatMap((row) => Array(columns).fill(row[0])),
    );
    expect([...(await readTensor(path, 'bias', 'f32', heads))]).toEqual(original.map((row) => row[0]));
    await expect(readTensor(path, 'q', 'f32', 5)).rejects.toThrow(/Expected 'unpermuteHeads' to split the 24 rows/);
  });

  const four = f32([1]);
  const one: GgufTensor = { name: 'w', shape: [1], type: 0, data: four };
  const gguf = (tensors: GgufTensor[], options: GgufOptions = {}) => ggufFile({}, tensors, options);
  test.each<[string, Uint8Array, RegExp]>([
    ['a file that ends in the header', gguf([one]).subarray(0, 20), /truncated/],
    ['version 1', gguf([], { version: 1 }), /GGUF version 1.*convert/],
    ['the other byte order', gguf([], { version: 0x03000000 }), /big-endian/],
    ['2^63 tensors', gguf([], { tensorCount: 2n ** 63n }), /claims 9223372036854775808 tensors/],
    ['2^63 pairs', gguf([], { pairCount: 2n ** 63n }), /claims 0 tensors and 9223372036854775808 metadata pairs/],
    ['more tensors than fit', gguf([one], { tensorCount: 1000 }), /claims 1000 tensors/],
    ['more pairs than there are', gguf([one], { pairCount: 1000 }), /claims 1000 metadata pairs/],
    [
      'a string of exabytes',
      Buffer.concat([gguf([], { pairCount: 1 }).subarray(0, 24), u64(2n ** 60n)]),
      /truncated|claims/,
    ],
    [
      'an array of exabytes',
      ggufFile({ a: { type: 9, bytes: Buffer.concat([u32(4), u64(2n ** 61n)]) } }, []),
      /claims 2305843009213693952 array elements/,
    ],
    ['a value of unknown type', ggufFile({ a: { type: 13, bytes: Buffer.alloc(8) } }, []), /unknown type 13/],
    [
      'arrays nested without end',
      ggufFile({ a: { type: 9, bytes: Buffer.concat(Array(50).fill(Buffer.concat([u32(9), u64(1)]))) } }, []),
      /nested more than 4 deep/,
    ],
    [
      'text that is not UTF-8',
      ggufFile({ a: { type: 8, bytes: ggufString(Buffer.of(0xc3, 0x28)) } }, []),
      /not UTF-8: '\?\('/,
    ],
    ['an overlong encoding', ggufFile({ a: { type: 8, bytes: ggufString(Buffer.of(0xc0, 0x80)) } }, []), /not UTF-8/],
    [
      'a key twice',
      ggufFile(
        [
          ['a', 1],
          ['a', 2],
        ],
        [],
      ),
      /key 'a' twice/,
    ],
    ['an alignment of 3', ggufFile({ 'general.alignment': 3 }, []), /alignment that is not a power of two/],
    ['an alignment of 0', ggufFile({ 'general.alignment': 0 }, []), /alignment/],
    ['five dimensions', gguf([{ ...one, shape: [1, 1, 1, 1, 1] }]), /claims 5 dimensions/],
    ['a negative size', gguf([{ ...one, shape: [2n ** 64n - 1n] }]), /cannot have/],
    ['a shape beyond 2^62', gguf([{ ...one, shape: [2n ** 40n, 2n ** 40n] }]), /cannot have/],
    ['rows that are no whole blocks', gguf([{ ...one, shape: [2, 16], type: 2 }]), /a shape that Q4_0 cannot have/],
    ['an unknown type', gguf([{ ...one, type: 99 }]), /unknown type 99, readable are F32/],
    ['a tensor twice', gguf([one, one]), /'w' occurs twice/],
    ['a misaligned tensor', gguf([{ ...one, offset: 4 }]), /offset 4, not a multiple of the alignment 32/],
    ['an offset beyond 2^63', gguf([{ ...one, offset: 2n ** 64n - 32n }]), /offset -32/],
    ['an offset beyond the end', gguf([{ ...one, offset: 32 * 2 ** 40 }]), /truncated: tensor 'w' lies beyond/],
    ['a missing tail', gguf([{ ...one, shape: [100] }]), /truncated: tensor 'w'/],
    ['overlapping tensors', gguf([one, { ...one, name: 'v', offset: 0 }]), /overlap/],
  ])('refuses %s', (_, contents, message) => {
    expect(openError('a.gguf', contents)).toMatch(message);
  });

  test('lists formats that it cannot read, and says so when one is read', async () => {
    const path = temporaryFile('a.gguf', gguf([{ name: 'w', shape: [256], type: 10, data: Buffer.alloc(84) }]));
    await expect(readTensor(path, 'w')).rejects.toThrow(
      /tensor 'w' has dtype Q2_K.*convert the model to one of F32, F16/,
    );
  });
});

describe('what is no file of weights', () => {
  test('says what is wrong with the path', () => {
    const folder = temporaryFolder();
    expect(() => openWeightFile(join(folder, 'none.gguf'))).toThrow(/none\.gguf: cannot be opened \(No such file/);
    expect(() => openWeightFile(folder)).toThrow(/is not a regular file; name a/);
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    expect(() => openWeightFile(pipe)).toThrow(/is not a regular file/);
  });

  test('a file cut short after it was opened poisons the tensor, not the process', async () => {
    const data = f32(Array(4096).fill(1));
    const path = temporaryFile('a.safetensors', safetensorsFile({ w: tensor('F32', [4096], 0, data.length) }, data));
    const source = new WeightFiles(path);
    const file = openWeightFile(path);
    source.own(file);
    source.add('w', file, 0);
    truncateSync(path, 100);
    using into = Tensor.empty(device, [4096]);
    source.load('w', into);
    await expect(into.read()).rejects.toThrow(/has become shorter since it was opened/);
    source.close();
  });
});

function toBFloat16(value: number): number {
  const words = new Uint32Array(Float32Array.of(value).buffer);
  const bits = words[0]!;
  words[0] = ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0;
  return new Float32Array(words.buffer)[0]!;
}

/** A Q8_0 row of 32 equal values below 128. */
function q8Row(value: number): Buffer {
  const row = Buffer.alloc(34, value);
  row.writeUInt16LE(0x3c00);
  return row;
}
