import { afterEach, expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import { expectSameWeights } from '../../src/distributed/same_weights.js';
import { localRanks } from '../../src/distributed/with_processes.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

const devices: Device[] = [];
afterEach(async () => {
  for (const device of devices.splice(0)) await device.close();
});

let groups = 0;

/** What each rank says of its weights, [2, 3] of these numbers. */
async function compare(...numbers: number[]): Promise<string[]> {
  const group = `weights-${process.pid}-${groups++}`;
  const checks = numbers.map((number, rank) => {
    const device = Device.open('cpu', { threads: 1 });
    devices.push(device);
    const weights = new Map([['layer.weight', Tensor.full(device, [2, 3], number)]]);
    return expectSameWeights(weights, new Communicator(device, group, rank, numbers.length));
  });
  const results = await Promise.allSettled(checks);
  return results.map((result) => (result.status === 'rejected' ? (result.reason as Error).message : 'alike'));
}

it('tells every rank whose weights differ before the first step', async () => {
  expect(await compare(1, 1, 1, 1)).toEqual(Array(4).fill('alike'));
  const messages = await compare(1, 1, 1.0000001, 1);
  for (const message of messages)
    expect(message).toMatch(/^Expected the same weights on every rank but rank 2 has others than rank 0; see that/);
});

it('gives every process as many ranks, whole replicas', () => {
  expect(localRanks({ dp: 4, tp: 2 }, { rank: 1, size: 2 })).toEqual({ first: 4, count: 4 });
  expect(localRanks({ dp: 3, tp: 1 }, null)).toEqual({ first: 0, count: 3 });
  expect(() => localRanks({ dp: 3, tp: 2 }, { rank: 0, size: 2 })).toThrow(
    /^Expected the mesh to have a multiple of WORLD_SIZE \(2 processes\) as 'dp' but received dp=3,tp=2/,
  );
});
