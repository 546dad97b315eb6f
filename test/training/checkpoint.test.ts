import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { expectRoom, latestCheckpoint, restoreCheckpoint, saveCheckpoint } from '../../src/training/checkpoint.js';

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
});
