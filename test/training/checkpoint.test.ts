import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import {
  expectRoom,
  latestCheckpoint,
  restoreCheckpoint,
  saveCheckpoint,
  saveShard,
} from '../../src/training/checkpoint.js';
import { shardLength } from '../../src/training/sharded_tensor.js';

let groups = 0;

describe('checkpoints', () => {
  let device: Device;
  let folder: string;
  let state: Map<string, Tensor>;
  beforeAll(() => {
    device = Device.open('cpu', { threads: 1 });
  });
  afterAll(() => device.close());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'checkpoint-'));
    state = new Map([
      ['w.master', Tensor.from(device, Float32Array.of(0.1, Number.MIN_VALUE, -3.5e38, 2 ** -140, 7))],
      ['w.mCodes', Tensor.from(device, Uint8Array.of(0, 255, 3, 4, 5))],
    ]);
  });
  afterEach(async () => {
    for (const tensor of state.values()) tensor.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await rm(folder, { recursive: true });
  });
  const layoutOf = (tensors: Map<string, Tensor>) =>
    new Map([...tensors].map(([name, { size }]) => [name, { whole: size, block: 1 }]));
  const info = (step: number) => ({ step, fingerprint: 'f', seconds: 1.5 });

  it('restores every bit', async () => {
    const before = await Promise.all([...state.values()].map((tensor) => tensor.readBytes()));
    await saveCheckpoint(folder, info(7), state, 1);
    for (const tensor of state.values()) tensor.write(tensor.dtype === 'u8' ? new Uint8Array(5) : new Float32Array(5));
    const checkpoint = await latestCheckpoint(folder);
    expect(checkpoint).toEqual({ ...info(7), path: join(folder, 'step-00000007') });
    await restoreCheckpoint(checkpoint!, state, layoutOf(state));
    expect(await Promise.all([...state.values()].map((tensor) => tensor.readBytes()))).toEqual(before);
  });

  it('keeps the latest ones and clears away what a killed writer left', async () => {
    for (const step of [1, 2, 10]) await saveCheckpoint(folder, info(step), state, 2);
    expect(await readdir(folder)).toEqual(['step-00000002', 'step-00000010']);
    await mkdir(join(folder, '.step-00000011.tmp-abcdef'));
    await writeFile(join(folder, '.step-00000011.tmp-abcdef', 'state.safetensors'), 'half');
    expect((await latestCheckpoint(folder))!.step).toBe(10);
    expect(await readdir(folder)).toEqual(['step-00000002', 'step-00000010']);
    expect(await latestCheckpoint(join(folder, 'absent'))).toBeNull();
  });

  it('refuses a checkpoint of another model', async () => {
    const checkpoint = await saveCheckpoint(folder, info(1), state, 1);
    using larger = Tensor.zeros(device, [6]);
    const restore = (other: Map<string, Tensor>) => restoreCheckpoint(checkpoint, other, layoutOf(other));
    await expect(restore(new Map([['w.master', larger]]))).rejects.toThrow(
      "Expected 'w.master' to be F32[6] but received F32[5]: a checkpoint of another model; choose another 'output'",
    );
    await expect(restore(new Map([['v.master', larger]]))).rejects.toThrow('but received nothing');
  });

  it('looks at the free space first', async () => {
    await expect(expectRoom(folder, 2 ** 60)).rejects.toThrow(
      /Expected \d+ MB of free disk space but there are \d+ MB/,
    );
    await expectRoom(folder, 10);
  });

  it.each([
    [4, 1],
    [1, 4],
    [2, 4],
    [3, 2],
    [4, 4],
  ])('cuts a state of %i ranks anew for %i, blocks of 8-bit moments whole', async (from, to) => {
    // The last block is not full, and of four ranks the last has nothing of it.
    const whole = 256 * 4 + 13;
    const block = { master: 1, mCodes: 1, mAbsmax: 256 };
    const layout = new Map(Object.entries(block).map(([name, size]) => [`w.${name}`, { whole, block: size }]));
    const random = (index: number, name: string) => (index * 37 + name.length * 11) % 251;
    /** Of one rank, filled with what the whole has there, or empty. */
    const partOf = (on: Device, rank: number, ranks: number, filled: boolean) =>
      new Map(
        Object.entries(block).map(([name, size]) => {
          const elements = Math.ceil(whole / size);
          const length = ranks === 1 ? elements : shardLength(whole, ranks) / size;
          const values = Array.from({ length }, (_, index) =>
            filled && rank * length + index < elements ? random(rank * length + index, name) : 0,
          );
          const array = name === 'mCodes' ? Uint8Array.from(values) : Float32Array.from(values);
          return [`w.${name}`, Tensor.from(on, array)];
        }),
      );
    const onRanks = async (
      ranks: number,
      work: (on: Device, rank: number, group: Communicator | null) => Promise<void>,
    ) => {
      const devices = Array.from({ length: ranks }, () => Device.open('cpu', { threads: 1 }));
      const name = `checkpoint-${process.pid}-${++groups}`;
      await Promise.all(
        devices.map((on, rank) => work(on, rank, ranks > 1 ? new Communicator(on, name, rank, ranks) : null)),
      );
      for (const on of devices) await on.close();
    };
    await onRanks(from, async (on, rank, group) => {
      const own = partOf(on, rank, from, true);
      if (rank === 0) await saveCheckpoint(folder, info(3), own, 1, group);
      else await saveShard(folder, 3, own, group!);
    });
    const checkpoint = await latestCheckpoint(folder);
    expect(checkpoint).toEqual({ ...info(3), path: join(folder, 'step-00000003') });
    await onRanks(to, async (on, rank) => {
      const own = partOf(on, rank, to, false);
      await restoreCheckpoint(checkpoint!, own, layout, rank);
      for (const [name, expected] of partOf(on, rank, to, true))
        expect(await own.get(name)!.read(), `${name} of rank ${rank}`).toEqual(await expected.read());
    });
  });

  it('leaves no checkpoint when a rank cannot write its part', async () => {
    const devices = [0, 1].map(() => Device.open('cpu', { threads: 1 }));
    const name = `checkpoint-${process.pid}-${++groups}`;
    const outcomes = await Promise.allSettled(
      devices.map(async (on, rank) => {
        const group = new Communicator(on, name, rank, 2);
        const own = new Map([['w.master', Tensor.zeros(on, [256])]]);
        if (rank === 0) return saveCheckpoint(folder, info(3), own, 1, group);
        own.get('w.master')!.dispose();
        return saveShard(folder, 3, own, group);
      }),
    );
    for (const on of devices) await on.close();
    const messages = outcomes.map((outcome) => String((outcome as PromiseRejectedResult).reason));
    expect(messages[0]).toMatch(/Rank 1 could not write its part of .*step-00000003/);
    expect(messages[1]).toContain('was disposed');
    expect(await readdir(folder)).toEqual([]);
  });
});
