// Event files as TensorBoard reads them: TFRecord frames around `Event` messages of tensorflow/core/util/event.proto.

import { appendFile, writeFile } from 'node:fs/promises';

/** CRC-32C (Castagnoli) of RFC 3720, bit-reflected. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** TFRecord stores checksums rotated and offset, so that a checksum over data with checksums in it stays strong. */
function maskedChecksum(bytes: Uint8Array): Buffer {
  const crc = crc32c(bytes);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

/** Length, its checksum, data, its checksum. */
function frame(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedChecksum(length), data, maskedChecksum(data)]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}

/** Protocol-buffer fields: number × 8 + wire type (0 varint, 1 double, 2 bytes, 5 float). */
function bytesField(field: number, data: Buffer): Buffer {
  return Buffer.concat([varint(field * 8 + 2), varint(data.length), data]);
}

function doubleField(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([varint(field * 8 + 1), data]);
}

function floatField(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([varint(field * 8 + 5), data]);
}

/** One event: Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }. */
export function scalarEvent(seconds: number, step: number, scalars: Readonly<Record<string, number>>): Buffer {
  const values = Object.entries(scalars).map(([tag, value]) =>
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), floatField(2, value)])),
  );
  const stepField = Buffer.concat([varint(2 * 8), varint(step)]);
  return frame(Buffer.concat([doubleField(1, seconds), stepField, bytesField(5, Buffer.concat(values))]));
}

/** What every file begins with: Event { wall_time = 1, file_version = 3 }. */
function versionEvent(seconds: number): Buffer {
  return frame(Buffer.concat([doubleField(1, seconds), bytesField(3, Buffer.from('brain.Event:2'))]));
}

type Row = { readonly step: number };

/** A file of events, one for every row of metrics; its numbers but `step` are the scalars. */
export class EventFile {
  readonly #path: string;
  private constructor(path: string) {
    this.#path = path;
  }

  /** Starts the file anew with `rows`, those of a run that goes on. */
  static async open(path: string, rows: readonly Row[]): Promise<EventFile> {
    const seconds = Date.now() / 1000;
    await writeFile(path, Buffer.concat([versionEvent(seconds), ...rows.map((row) => rowEvent(seconds, row))]));
    return new EventFile(path);
  }

  async append(row: Row): Promise<void> {
    await appendFile(this.#path, rowEvent(Date.now() / 1000, row));
  }
}

function rowEvent(seconds: number, { step, ...scalars }: Row): Buffer {
  return scalarEvent(seconds, step, scalars as Record<string, number>);
}
