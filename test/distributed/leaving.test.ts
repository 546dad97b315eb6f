/** Ranks that are late, that leave in the middle, and that are ended while much waits for others. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import { workerFile } from '../../src/distributed/worker_file.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

it.each(['cpu', 'cuda-emulated'])(
  'a rank that is late: one warning each time, which names it, on %s',
  async (device) => {
    const child = spawn(process.execPath, [workerFile('test/distributed/late'), device, device, '2'], {
      stdio: 'pipe',
    });
    const said = { out: '', error: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said.out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.error += text;
    });
    const ended = once(child, 'exit');
    const warnings = (): string[] => said.error.split('\n').filter((line) => line !== '');
    for (let round = 1; round <= 2; round += 1) {
      while (warnings().length < round && child.exitCode === null)
        await Promise.race([once(child.stderr, 'data'), ended]);
      child.stdin.write('come\n');
      while (said.out.split('\n').length <= round && child.exitCode === null)
        await Promise.race([once(child.stdout, 'data'), ended]);
    }
    expect(await ended).toEqual([0, null]);
    expect(said.out).toBe('3 3\n6 6\n');
    expect(warnings()).toEqual(
      Array(2).fill("warning: Communicator 'late': rank 0 has waited 0.2 s at all_reduce for rank 1 of 2"),
    );
  },
);

it('GPUs that do not reach each other: a warning with the remedy, and the sums all the same', async () => {
  const gpus = ['cuda-emulated:0', 'cuda-emulated:1'];
  for (const peers of ['1', '0']) {
    const own = { COMPRESS_DISTILL_EMULATION_GPUS: '2', COMPRESS_DISTILL_EMULATION_PEERS: peers };
    const child = spawnSync(process.execPath, [workerFile('test/distributed/late'), ...gpus, '1'], {
      env: { ...process.env, ...own },
      input: 'come\n',
      encoding: 'utf8',
    });
    expect(child.stdout).toBe('3 3\n');
    const warnings = child.stderr.split('\n').filter((line) => line.includes('peer-to-peer'));
    expect(warnings).toEqual(
      peers === '1'
        ? []
        : [
            expect.stringMatching(
              /^warning: cuda:0 and cuda:1 do not reach each other's memory .*: NCCL copies by way of the host, .*'dp' rather than to 'tp'$/,
            ),
          ],
    );
  }
});

it('ranks of GPUs that are ended with more enqueued than may be launched at once', async () => {
  // Whether the collective is retired first, when a rank is ended, is a matter of microseconds.
  for (let time = 0; time < 20; time += 1) {
    const worker = new Worker(workerFile('test/distributed/stalled'), { workerData: 'cuda-emulated' });
    const [message] = await Promise.race([once(worker, 'message'), once(worker, 'error')]);
    expect(message).toBe('enqueued');
    expect(await worker.terminate()).toBe(1);
  }
});

it('a rank that leaves while others still read what ranks have brought: they read it to the end', async () => {
  const length = 32 << 20;
  const devices = [0, 1, 2].map(() => Device.open('cpu', { threads: 1 }));
  try {
    const group = `leaving-${process.pid}`;
    const ranks = devices.map((device, rank) => new Communicator(device, group, rank, 3));
    const all = devices.map((device, rank) => Tensor.full(device, [length], rank + 1));
    for (const [rank, communicator] of ranks.entries()) communicator.broadcast(all[rank]!, 0);
    const ends = all.map((x) => x.narrow(0, length - 1, 1).readFloats());
    while (ranks[1]!.bytesReceived === 0) await new Promise(setImmediate);
    ranks[1]!.leave();
    for (const end of await Promise.all(ends)) expect([...end]).toEqual([1]);
  } finally {
    await Promise.all(devices.map((device) => device.close()));
  }
});
