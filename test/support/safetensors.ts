// A safetensors reader for tests alone, so that golden data is not read through the code it is compared with.
import { readFileSync } from 'node:fs';

export interface GoldenArray {
  shape: number[];
  /** f32 as stored, bf16 widened, fp8 its bits. */
  data: Float32Array | Int32Array | Uint8Array;
}

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Every tensor of a safetensors file, copied into memory. Throws on a dtype other than F32, BF16, I32, U8 and F8_E4M3. */
export function readSafetensors(path: string): Map<string, GoldenArray> {
  const file = readFileSync(path);
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, HeaderEntry>;
  const arrays = new Map<string, GoldenArray>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const [start, end] = entry.data_offsets;
    const bytes = new Uint8Array(file.subarray(8 + headerBytes + start, 8 + headerBytes + end));
    arrays.set(name, { shape: entry.shape, data: decode(bytes, entry.dtype, name) });
  }
  return arrays;
}

function decode(bytes: Uint8Array, dtype: string, name: string): GoldenArray['data'] {
  switch (dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer);
    case 'I32':
      return new Int32Array(bytes.buffer);
    case 'U8':
    case 'F8_E4M3':
      return bytes;
    case 'BF16':
      return new Float32Array(Uint32Array.from(new Uint16Array(bytes.buffer), (half) => half << 16).buffer);
    default:
      throw new Error(`Expected '${name}' to be F32, BF16, I32, U8 or F8_E4M3 but received ${dtype}`);
  }
}
