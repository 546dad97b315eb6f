// Writers of GGUF and safetensors files for tests, wrong ones included: nothing is checked.

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

export function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

export function f32(values: Iterable<number>): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

/** A safetensors file from its header, as JSON text or as what becomes JSON. */
export function safetensorsFile(header: unknown, data: Uint8Array = Buffer.alloc(0)): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  return Buffer.concat([u64(json.length), json, data]);
}

export function ggufString(text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text as string);
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** A metadata value with its GGUF type, for what the type of the JavaScript value does not tell. */
export interface Typed {
  type: number;
  bytes: Uint8Array;
}

export type MetadataValue = string | number | boolean | string[] | number[] | Typed;

/** Numbers become u32 when whole, else f32; arrays of numbers i32. */
function metadataValue(value: MetadataValue): Buffer {
  if (typeof value === 'string') return Buffer.concat([u32(8), ggufString(value)]);
  if (typeof value === 'boolean') return Buffer.concat([u32(7), Buffer.of(Number(value))]);
  if (typeof value === 'number')
    return Number.isInteger(value) ? Buffer.concat([u32(4), u32(value)]) : Buffer.concat([u32(6), f32([value])]);
  if (!Array.isArray(value)) return Buffer.concat([u32(value.type), value.bytes]);
  const strings = typeof value[0] === 'string';
  const items = strings
    ? (value as string[]).map((text) => ggufString(text))
    : [Buffer.from(Int32Array.from(value as number[]).buffer)];
  return Buffer.concat([u32(9), u32(strings ? 8 : 5), u64(value.length), ...items]);
}

export interface GgufTensor {
  name: string;
  /** Row-major, as torch has it. */
  shape: (number | bigint)[];
  /** GGUF's number: 0 F32, 1 F16, 2 Q4_0, 3 Q4_1, 8 Q8_0, 12 Q4_K, 14 Q6_K, 30 BF16. */
  type: number;
  data: Uint8Array;
  /** Default: behind the tensor before, aligned to 32. */
  offset?: number | bigint;
}

export interface GgufOptions {
  version?: number;
  tensorCount?: number | bigint;
  pairCount?: number | bigint;
}

export function ggufFile(
  metadata: Record<string, MetadataValue> | [string, MetadataValue][],
  tensors: GgufTensor[],
  options: GgufOptions = {},
): Buffer {
  const pairs = Array.isArray(metadata) ? metadata : Object.entries(metadata);
  let end = 0;
  const header = [
    Buffer.from('GGUF'),
    u32(options.version ?? 3),
    u64(options.tensorCount ?? tensors.length),
    u64(options.pairCount ?? pairs.length),
    ...pairs.flatMap(([key, value]) => [ggufString(key), metadataValue(value)]),
    ...tensors.flatMap(({ name, shape, type, data, offset }) => {
      const place = offset ?? end;
      end += Math.ceil(data.length / 32) * 32;
      return [ggufString(name), u32(shape.length), ...shape.toReversed().map(u64), u32(type), u64(place)];
    }),
  ];
  return Buffer.concat([...[padded(Buffer.concat(header))], ...tensors.map(({ data }) => padded(data))]);
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((32 - (bytes.length % 32)) % 32)]);
}

/** Uniform in [0, 1), the same sequence for every seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
