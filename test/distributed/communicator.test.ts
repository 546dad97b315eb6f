import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import { workerFile } from '../../src/distributed/worker_file.js';
import { embedding } from '../../src/ops/embedding.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

interface Report {
  rank: number;
  results?: number[][];
  live?: number;
  error?: string;
}

let groups = 0;

async function runRanks(size: number, settings: (rank: number) => Record<string, number>): Promise<Report[]> {
  const group = `test-${process.pid}-${groups++}`;
  const reports = await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const worker = new Worker(workerFile('test/distributed/rank'), {
        workerData: { group, rank, size, ...settings(rank) },
      });
      const exited = once(worker, 'exit'); // may come right behind the message
      const [report] = (await once(worker, 'message')) as [Report];
      await exited;
      return report;
    }),
  );
  return reports.sort((a, b) => a.rank - b.rank);
}

describe('all-reduce between worker threads', () => {
  it.each([
    [1, 0],
    [2, 0],
    [4, 0],
    [1, 1],
    [3, 1],
  ])('sums in rank order, the same bits on each of %i ranks (emulated GPUs: %i)', async (size, emulated) => {
    const reports = await runRanks(size, () => ({ length: 1001, rounds: 20, emulated }));
    const expected = Array.from({ length: 20 }, (_, round) =>
      Array.from({ length: 1001 }, (_, index) => {
        let total = 0;
        for (let rank = 0; rank < size; rank += 1)
          total = Math.fround(total + Math.fround((rank + 1) * 0.1 + index + round));
        return total;
      }),
    );
    for (const report of reports) {
      expect(report.results).toEqual(expected);
      expect(report.live).toBe(0);
    }
  });

  it('takes fewer elements than ranks, and none', async () => {
    for (const length of [0, 1, 3]) {
      const reports = await runRanks(4, () => ({ length, rounds: 2 }));
      for (const report of reports) expect(report.results![0]).toHaveLength(length);
    }
  });

  it('fails on the others when a rank leaves', async () => {
    const reports = await runRanks(2, (rank) => ({ length: 10, rounds: 3, ...(rank === 1 ? { leaveAfter: 1 } : {}) }));
    expect(reports[1]!.results).toHaveLength(1);
    expect(reports[0]!.error).toMatch(/a rank has left/);
  });

  it('fails for a rank that comes after another has failed', async () => {
    const devices = [0, 1].map(() => Device.open('cpu', { threads: 1 }));
    const group = `test-${process.pid}-${groups++}`;
    const reduce = async (rank: number, token: number): Promise<unknown> => {
      const device = devices[rank]!;
      const communicator = new Communicator(device, group, rank, 2);
      const rows = embedding(Tensor.zeros(device, [3, 4]), Tensor.from(device, Int32Array.of(token)));
      communicator.allReduce(rows);
      return rows.read();
    };
    await expect(reduce(1, 99)).rejects.toThrow(/99/);
    await expect(reduce(0, 0)).rejects.toThrow(/a rank has left/);
    for (const device of devices) await device.close();
  });
});
