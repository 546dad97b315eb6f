import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventFile, MetricsLog } from '../../src/training/metrics.js';
import { crc32c, scalarEvent } from '../../src/training/tensorboard.js';

const ascii = (text: string) => new TextEncoder().encode(text);

describe('event files', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'events-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('has the check values of CRC-32C that RFC 3720 and the catalogue of CRCs give', () => {
    expect(crc32c(ascii('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  });

  it('lays an event out as event.proto says', () => {
    const event = scalarEvent(1, 300, { a: 1.5 });
    const data = '09000000000000f03f' + '10ac02' + '2a0a' + '0a08' + '0a0161' + '150000c03f';
    expect(event.readBigUInt64LE(0)).toBe(BigInt(data.length / 2));
    expect(event.subarray(12, -4).toString('hex')).toBe(data);
    const unmask = (masked: number) => {
      const rotated = (masked - 0xa282ead8) >>> 0;
      return ((rotated << 15) | (rotated >>> 17)) >>> 0;
    };
    expect(unmask(event.readUInt32LE(8))).toBe(crc32c(event.subarray(0, 8)));
    expect(unmask(event.readUInt32LE(event.length - 4))).toBe(crc32c(event.subarray(12, -4)));
  });

  it('holds a version and the rows of the log, those of a resumed run once', async () => {
    const log = await MetricsLog.open(join(folder, 'metrics.jsonl'), 0);
    for (const step of [1, 2, 3]) await log.append({ step, validationLoss: step });
    const resumed = await MetricsLog.open(join(folder, 'metrics.jsonl'), 2);
    await resumed.append({ step: 3, validationLoss: 9 });
    const file = await readFile(join(folder, eventFile));
    const records: Buffer[] = [];
    for (let at = 0; at < file.length; ) {
      const length = Number(file.readBigUInt64LE(at));
      records.push(file.subarray(at + 12, at + 12 + length));
      at += length + 16;
    }
    expect(records[0]!.subarray(9).toString('latin1')).toBe('\x1a\rbrain.Event:2');
    const rows = records.slice(1).map((record) => [record[10], record.readFloatLE(record.length - 4)]);
    expect(rows).toEqual([
      [1, 1],
      [2, 2],
      [3, 9],
    ]);
  });
});
