import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { localRanks } from '../../src/distributed/with_processes.js';
import { hashFiles } from '../../src/weights/fingerprint.js';

it('tells files apart by any byte of them', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'weights-'));
  try {
    const path = join(folder, 'weights');
    const bytes = Buffer.alloc(20 << 20, 7);
    const hashes: string[] = [];
    for (const value of [7, 7, 8]) {
      bytes[5_000_000] = value;
      writeFileSync(path, bytes);
      hashes.push(await hashFiles([path]));
    }
    expect(hashes[1]).toBe(hashes[0]);
    expect(hashes[2]).not.toBe(hashes[0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('gives every process as many ranks, whole replicas', () => {
  expect(localRanks({ dp: 4, tp: 2 }, { rank: 1, size: 2 })).toEqual({ first: 4, count: 4 });
  expect(localRanks({ dp: 3, tp: 1 }, null)).toEqual({ first: 0, count: 3 });
  expect(() => localRanks({ dp: 3, tp: 2 }, { rank: 0, size: 2 })).toThrow(
    /^Expected the mesh to have a multiple of WORLD_SIZE \(2 processes\) as 'dp' but received dp=3,tp=2/,
  );
});
