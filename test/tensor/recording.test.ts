import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { embedding } from '../../src/ops/embedding.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

describe.each(['cpu', 'cpu-chaos', 'cuda-emulated'])('a recording on %s', (name) => {
  let device: Device;
  beforeEach(() => {
    device = Device.open(name, { threads: 2 });
  });
  afterEach(async () => {
    await device.synchronize();
    expect(device.statistics()).toMatchObject({ liveTensors: 0, liveBytes: 0 });
    await device.close();
  });

  /** 2·x, then + y, through a temporary of its own. */
  const doubleAndAdd = (x: Tensor, y: Tensor) => {
    const doubled = x.like();
    launch('scale', [x, doubled], [2]);
    const sum = x.like();
    launch('add', [doubled, y, sum], [1]);
    return sum;
  };

  it('runs nothing until it is replayed, then what it was given, each time with other inputs', async () => {
    using x = Tensor.full(device, [3], 0);
    using y = Tensor.full(device, [3], 1);
    using recording = device.record({ x, y }, () => doubleAndAdd(x, y));
    using sum = recording.outputs;
    const results: Promise<Float32Array>[] = [];
    for (let round = 0; round < 500; round += 1) {
      recording.replay({ x: [round, round + 1, round + 2] });
      results.push(sum.readFloats());
    }
    recording.replay({ y: [5, 6, 7] });
    const last = await sum.readFloats();
    for (const [round, values] of (await Promise.all(results)).entries())
      expect([...values]).toEqual([2 * round + 1, 2 * round + 3, 2 * round + 5]);
    expect([...last]).toEqual([2 * 499 + 5, 2 * 500 + 6, 2 * 501 + 7]);
  });

  it('keeps its memory to itself', async () => {
    using x = Tensor.full(device, [1000], 1);
    using recording = device.record({ x }, () => doubleAndAdd(x, x));
    const { outputs } = recording;
    recording.replay();
    const others = Array.from({ length: 20 }, (_, index) => Tensor.full(device, [1000], index));
    outputs.dispose(); // its memory is still the recording's
    const more = Array.from({ length: 20 }, (_, index) => Tensor.full(device, [1000], index));
    for (let round = 0; round < 5; round += 1) recording.replay();
    for (const list of [others, more])
      for (const [index, tensor] of list.entries()) {
        expect((await tensor.readFloats()).every((value) => value === index)).toBe(true);
        tensor.dispose();
      }
  });

  it('lets its memory go while replays are queued', async () => {
    using x = Tensor.full(device, [1000], 3);
    const recording = device.record({ x }, () => doubleAndAdd(x, x));
    recording.replay();
    using sum = recording.outputs.alias();
    recording.outputs.dispose();
    recording.dispose();
    for (let round = 0; round < 20; round += 1) Tensor.full(device, [1000], round).dispose();
    expect((await sum.readFloats()).every((value) => value === 9)).toBe(true);
    expect(() => recording.replay()).toThrow('Expected a live recording but it was disposed');
  });

  it('fails where its data is wrong, and only there', async () => {
    using table = Tensor.full(device, [4, 2], 2);
    using ids = Tensor.from(device, Int32Array.of(0, 1));
    using untouched = Tensor.full(device, [1], 1);
    using recording = device.record({ ids }, () => embedding(table, ids));
    using rows = recording.outputs;
    recording.replay({ ids: Int32Array.of(3, 0) });
    expect([...(await rows.readFloats())]).toEqual([2, 2, 2, 2]);
    recording.replay({ ids: Int32Array.of(3, 4) });
    await expect(rows.readFloats()).rejects.toThrow("Expected 'ids' to be in [0, 4) but received 4 at index 1");
    expect([...(await untouched.readFloats())]).toEqual([1]);
  });

  it('refuses what cannot be repeated, and names that are no slots', async () => {
    using x = Tensor.full(device, [1], 0);
    expect(() => device.record({}, () => Tensor.from(device, [1]))).toThrow(/only operations while recording but received an upload/); // biome-ignore format: one line
    const refused: Promise<unknown>[] = [];
    device.record({}, () => void refused.push(x.read())).dispose();
    await expect(refused[0]).rejects.toThrow(/only operations while recording but received a read or a wait/);
    expect(() => device.record({}, () => device.record({}, () => x))).toThrow(/received a second recording/);
    using recording = device.record({ x }, () => doubleAndAdd(x, x));
    recording.outputs.dispose();
    expect(() => recording.replay({ y: [1] } as never)).toThrow("Expected one of the slots x but received 'y'");
  });
});
