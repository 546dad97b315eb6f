import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { Communicator, isRankFailure } from '../../src/distributed/communicator.js';
import { workerFile } from '../../src/distributed/worker_file.js';
import { embedding } from '../../src/ops/embedding.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { expectedRound } from './operands.js';

interface Report {
  rank: number;
  results?: number[][];
  live?: number;
  error?: string;
}

let groups = 0;
const newGroup = (): string => `test-${process.pid}-${groups++}`;

async function runRanks(
  size: number,
  settings: (rank: number) => Record<string, number | string>,
  group = newGroup(),
): Promise<Report[]> {
  const reports = await Promise.all(
    Array.from({ length: size }, async (_, rank) => {
      const worker = new Worker(workerFile('test/distributed/rank'), {
        workerData: { group, rank, size, device: 'cpu', ...settings(rank) },
      });
      const exited = once(worker, 'exit'); // may come right behind the message
      const [report] = (await once(worker, 'message')) as [Report];
      await exited;
      return report;
    }),
  );
  return reports.sort((a, b) => a.rank - b.rank);
}

describe('collectives between worker threads', () => {
  it.each([
    [1, 'cpu', 37, 0],
    [2, 'cpu', 37, 0],
    [4, 'cpu', 37, 0],
    [4, 'cpu', 33, 1],
    [2, 'cpu-chaos', 33, 1],
    [4, 'cpu-chaos', 37, 0],
    [4, 'cpu', 1, 0],
    [4, 'cpu', 0, 0],
    [1, 'cuda-emulated', 37, 0],
    [2, 'cuda-emulated', 33, 1],
    [4, 'cuda-emulated', 37, 0],
  ])(
    '%i ranks on %s: %i elements in rank order, the same bits on each (bf16: %i)',
    async (size, device, length, bf16) => {
      const rounds = 5;
      const reports = await runRanks(size, () => ({ length, rounds, device, bf16 }));
      for (const { rank, results, live, error } of reports) {
        expect(error).toBeUndefined();
        expect(results).toEqual(
          Array.from({ length: rounds }, (_, round) => expectedRound(rank, size, round, length, bf16 === 1)).flat(),
        );
        expect(live).toBe(0);
      }
    },
  );

  it.each(['cpu', 'cuda-emulated'])('fail on the others when a rank leaves, which is named, on %s', async (device) => {
    const settings = (rank: number) => ({ length: 10, rounds: 3, device, ...(rank === 2 ? { leaveAfter: 1 } : {}) });
    const reports = await runRanks(4, settings);
    expect(reports[2]!.results).toHaveLength(4);
    for (const rank of [0, 1, 3]) expect(reports[rank]!.error).toMatch(/rank 2 of 4 has left/);
  });
});

describe('ranks that do not go together', () => {
  const devices: Device[] = [];
  const open = (name = 'cpu'): Device => {
    devices.push(Device.open(name, { threads: 1 }));
    return devices.at(-1)!;
  };
  afterEach(async () => {
    for (const device of devices.splice(0)) await device.close();
  });
  const reasons = async (reads: Promise<unknown>[]): Promise<string[]> =>
    (await Promise.allSettled(reads)).map((result) =>
      result.status === 'rejected' ? (result.reason as Error).message : 'was read',
    );

  it('fails for a rank that comes after another has failed', async () => {
    const group = newGroup();
    const reduce = async (rank: number, token: number): Promise<unknown> => {
      const device = open();
      const communicator = new Communicator(device, group, rank, 2);
      const rows = embedding(Tensor.zeros(device, [3, 4]), Tensor.from(device, Int32Array.of(token)));
      communicator.allReduce(rows);
      return rows.read();
    };
    await expect(reduce(1, 99)).rejects.toThrow(/99/);
    const late = reduce(0, 0);
    await expect(late).rejects.toThrow(/rank 1 of 2 has left/);
    expect(isRankFailure(await late.catch((error: unknown) => error))).toBe(true);
  });

  it.each([
    [
      'another operation',
      (communicator: Communicator, x: Tensor) => communicator.broadcast(x, 1),
      'all_reduce of 6 elements of f32 and rank 1 for broadcast of 6 elements of f32 from rank 1',
    ],
    [
      'another size',
      (communicator: Communicator, x: Tensor) => communicator.allReduce(x.narrow(0, 0, 5)),
      'all_reduce of 6 elements of f32 and rank 1 for all_reduce of 5 elements of f32',
    ],
    [
      'another dtype',
      (communicator: Communicator, x: Tensor) =>
        communicator.allReduce(Tensor.from(x.device, new Float32Array(6), [6], 'bf16')),
      'all_reduce of 6 elements of f32 and rank 1 for all_reduce of 6 elements of bf16',
    ],
  ])('says on every rank that one came with %s', async (_name, other, expected) => {
    for (const name of ['cpu', 'cuda-emulated']) {
      const group = newGroup();
      const [x, y] = [0, 1].map((rank) => {
        const device = open(name);
        const communicator = new Communicator(device, group, rank, 2);
        const tensor = Tensor.from(device, new Float32Array(6));
        if (rank === 0) communicator.allReduce(tensor);
        else other(communicator, tensor);
        communicator.allReduce(tensor);
        return tensor;
      });
      const messages = await reasons([x!.read(), y!.read()]);
      for (const message of messages) {
        expect(message).toContain('Expected the same collective on every rank but rank');
        // On a GPU nobody waits for rank 0: who came first is named first.
        if (name === 'cpu') expect(message).toContain(`rank 0 came for ${expected}`);
        expect(message).not.toContain('\n');
      }
    }
  });

  it('gives up on a rank that does not come, and names it', async () => {
    const group = newGroup();
    const all = [0, 1, 2].map((rank) => new Communicator(open(), group, rank, 3, { timeoutSeconds: 2 }));
    const reads = [0, 2].map((rank) => {
      const x = Tensor.from(all[rank]!.device, [1, 2]);
      all[rank]!.allReduce(x);
      return x.read();
    });
    for (const message of await reasons(reads))
      expect(message).toMatch(/rank 1 of 3 did not come to all_reduce within 2 s/);
    const late = Tensor.from(all[1]!.device, [1, 2]);
    all[1]!.allReduce(late);
    expect(await reasons([late.read()])).toEqual([expect.stringMatching(/rank 1 of 3 did not come/)]);
  });

  it('refuses a second size, a rank twice and a rank that is none', () => {
    const group = newGroup();
    const device = open();
    void new Communicator(device, group, 0, 2);
    expect(() => new Communicator(device, group, 1, 3)).toThrow(/Expected 2 ranks/);
    expect(() => new Communicator(device, group, 0, 2)).toThrow(/rank 0 has joined already/);
    expect(() => new Communicator(device, newGroup(), 2, 2)).toThrow(
      /Expected 0 ≤ rank < size but received rank 2 of 2/,
    );
  });
});
