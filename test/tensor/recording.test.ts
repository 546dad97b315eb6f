import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { embedding } from '../../src/ops/embedding.js';
import { rmsNorm } from '../../src/ops/rms_norm.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import type { Recording, Slots } from '../../src/tensor/recording.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { normal } from '../ops/harness/data.js';

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
    await expect(rows.readFloats()).rejects.toThrow("Expected 'ids' to be in [-2, 4) but received 4 at index 1");
    expect([...(await untouched.readFloats())]).toEqual([1]);
    recording.replay({ ids: Int32Array.of(1, 2) });
    expect([...(await rows.readFloats())]).toEqual([2, 2, 2, 2]);
  });

  it('tells which of many queued replays failed, and with what', async () => {
    using table = Tensor.full(device, [4, 2], 2);
    using ids = Tensor.from(device, Int32Array.of(0, 1));
    using others = Tensor.from(device, Int32Array.of(3));
    using recording = device.record({ ids, others }, () => {
      const rows = embedding(table, ids);
      const doubled = rows.like();
      launch('scale', [rows, doubled], [2]);
      return { doubled, other: embedding(table, others) };
    });
    const { doubled, other } = recording.outputs;
    const settle = (tensor: Tensor): Promise<string> => tensor.read().then(String, (error: Error) => error.message);
    const outcomes: Promise<string>[] = [];
    for (let round = 0; round < 60; round += 1) {
      const wrong = round % 3 === 1;
      recording.replay({ ids: Int32Array.of(1, wrong ? 100 + round : 2), others: Int32Array.of(round % 5) });
      outcomes.push(settle(doubled), settle(other));
    }
    for (const [index, outcome] of (await Promise.all(outcomes)).entries()) {
      const round = index >> 1;
      const [bad, good] = index % 2 === 0 ? [round % 3 === 1, '4,4,4,4'] : [round % 5 === 4, '2,2'];
      if (bad) expect(outcome).toContain(`but received ${index % 2 === 0 ? 100 + round : 4} at index`);
      else expect(outcome).toBe(good);
    }
    doubled.dispose();
    other.dispose();
  });

  it('is poisoned by what it uses, until that is written anew', async () => {
    using table = Tensor.full(device, [4, 1], 2);
    using x = Tensor.empty(device, [2, 1]);
    const fail = (): void => scope(() => launch('embedding', [table, Tensor.from(device, Int32Array.of(9, 0)), x]));
    using recording = device.record({ x }, () => doubleAndAdd(x, x));
    using sum = recording.outputs;
    for (let round = 0; round < 4; round += 1) {
      fail();
      recording.replay();
      const failed = sum.readFloats();
      recording.replay({ x: [round, 1] });
      const sound = sum.readFloats();
      await expect(failed).rejects.toThrow('but received 9 at index 0');
      expect([...(await sound)]).toEqual([3 * round, 3]);
    }
  });

  it('gives the bits of the same operations run one by one', async () => {
    let seed = 0;
    const values = (count: number) => Float32Array.from(normal(++seed)(count));
    using a = Tensor.from(device, values(70 * 130), [70, 130]);
    using b = Tensor.from(device, values(90 * 130), [90, 130]);
    using weight = Tensor.from(device, values(90), [90]);
    const forward = () => {
      const product = Tensor.empty(device, [70, 90]);
      launch('matmul', [a, b, product], [0, 1, 0, 1]);
      return rmsNorm(product, weight, 1e-5);
    };
    using recording = device.record({ a }, forward);
    using recorded = recording.outputs;
    for (let round = 0; round < 4; round += 1) {
      const data = values(70 * 130);
      recording.replay({ a: data });
      using eager = scope(forward);
      expect(await recorded.readFloats()).toEqual(await eager.readFloats());
    }
  });

  it('shares its memory with others where it is told to', async () => {
    using x = Tensor.full(device, [1 << 18], 1);
    const record = (size: number, sharing?: Recording<Slots, unknown>) => {
      const part = x.narrow(0, 0, size);
      const result = Tensor.empty(device, [size]);
      const recording = device.record(
        {},
        () => {
          const sum = doubleAndAdd(part, part);
          launch('copy', [sum, result]);
        },
        sharing && { sharing },
      );
      part.dispose();
      return { size, recording, result };
    };
    const largest = record(1 << 18);
    const before = device.statistics();
    const smaller = [200_000, 70_001, 4096, 1].map((size) => record(size, largest.recording));
    const results = smaller.reduce(
      (bytes, { size }) => bytes + Math.max(65536, Math.ceil((size * 4) / 65536) * 65536),
      0,
    );
    expect(device.statistics().liveBytes - before.liveBytes).toBeLessThanOrEqual(results);
    largest.recording.dispose(); // the others go on
    for (let round = 1; round < 4; round += 1) {
      x.write(new Float32Array(1 << 18).fill(round));
      for (const { recording } of smaller) recording.replay();
      for (const { result } of smaller)
        expect((await result.readFloats()).every((value) => value === 3 * round)).toBe(true);
    }
    for (const { recording, result } of [largest, ...smaller]) {
      recording.dispose();
      result.dispose();
    }
    expect(device.statistics().liveBytes).toBe(x.size * 4);
  });

  it('cannot be replayed when what it used is gone', () => {
    const y = Tensor.full(device, [3], 1);
    using x = Tensor.full(device, [3], 1);
    using recording = device.record({ x }, () => doubleAndAdd(x, y));
    recording.outputs.dispose();
    y.dispose();
    expect(() => recording.replay()).toThrow(
      'Expected the tensors that the recording uses to live but one of them was disposed',
    );
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

describe('a recording as a graph', () => {
  it('is made by the second replay, and anew when scratch memory has moved', async () => {
    const device = Device.open('cuda-emulated', { threads: 1 });
    const x = Tensor.full(device, [50_000], 1);
    const recording = device.record({ x }, () => {
      const y = Tensor.empty(device, [1]);
      launch('sum', [x, y]);
      return y;
    });
    const graphs: number[] = [];
    const scratch: number[] = [];
    for (let round = 0; round < 6; round += 1) {
      recording.replay({ x: new Float32Array(50_000).fill(round) });
      expect([...(await recording.outputs.readFloats())]).toEqual([50_000 * round]);
      graphs.push(device.statistics().graphReplays);
      scratch.push(device.statistics().scratchBytes);
      if (round === 3) {
        using ids = Tensor.from(device, new Int32Array(3000));
        using gradient = Tensor.full(device, [3000, 1], 1);
        using total = Tensor.zeros(device, [1, 1]);
        launch('embedding_backward', [ids, gradient, total]);
        expect([...(await total.readFloats())]).toEqual([3000]);
      }
    }
    expect(graphs).toEqual([0, 1, 2, 3, 4, 5]);
    expect(new Set(scratch.slice(0, 4)).size).toBe(1);
    expect(scratch[4]).toBeGreaterThan(scratch[3]!);
    for (const tensor of [x, recording.outputs]) tensor.dispose();
    recording.dispose();
    await device.close();
  });

  it('is not made where operations are timed one by one', async () => {
    const device = Device.open('cuda-emulated', { threads: 1, profile: true });
    const x = Tensor.full(device, [3], 1);
    const recording = device.record({ x }, () => launch('scale', [x, x], [2]));
    for (let round = 0; round < 3; round += 1) recording.replay();
    expect([...(await x.readFloats())]).toEqual([8, 8, 8]);
    expect(device.statistics().graphReplays).toBe(0);
    expect(device.profile().find(({ op }) => op === 'scale')?.calls).toBe(3);
    x.dispose();
    recording.dispose();
    await device.close();
  });

  it('gives all memory back', async () => {
    const device = Device.open('cuda-emulated', { threads: 1 });
    await device.synchronize();
    const before = device.statistics().accelerator!.freeBytes;
    for (let round = 0; round < 3; round += 1) {
      using table = Tensor.full(device, [4, 300_000], 2);
      using ids = Tensor.from(device, Int32Array.of(0, 1));
      const recording = device.record({ ids }, () => embedding(table, ids));
      for (let replay = 0; replay < 3; replay += 1) recording.replay();
      recording.outputs.dispose();
      recording.dispose();
    }
    await device.synchronize();
    const { reservedBytes, scratchBytes, liveBytes, accelerator: after } = device.statistics();
    expect(liveBytes).toBe(0);
    expect(before - after!.freeBytes).toBe(reservedBytes + scratchBytes);
    await device.close();
  });

  it.each([
    ['capture', 'filling memory'],
    ['instantiate', 'making a graph ready'],
  ])('fails one replay when %s fails, and is made by the next', async (fault, doing) => {
    process.env.COMPRESS_DISTILL_EMULATION_GRAPH_FAULT = fault;
    const device = Device.open('cuda-emulated', { threads: 1 });
    delete process.env.COMPRESS_DISTILL_EMULATION_GRAPH_FAULT;
    const table = Tensor.from(device, [10, 20, 30], [3, 1]);
    const ids = Tensor.from(device, Int32Array.of(0));
    const recording = device.record({ ids }, () => embedding(table, ids));
    const rows = recording.outputs;
    recording.replay({ ids: Int32Array.of(1) });
    expect([...(await rows.readFloats())]).toEqual([20]);
    recording.replay({ ids: Int32Array.of(2) });
    await expect(rows.readFloats()).rejects.toThrow(
      `Replaying recorded operations as a graph failed: Device 'cuda:0': ${doing} failed: an error of the emulation`,
    );
    expect(device.statistics().graphReplays).toBe(0);
    recording.replay({ ids: Int32Array.of(2) });
    expect([...(await rows.readFloats())]).toEqual([30]);
    recording.replay({ ids: Int32Array.of(7) });
    await expect(rows.readFloats()).rejects.toThrow('but received 7 at index 0');
    expect(device.statistics().graphReplays).toBe(2);
    await device.synchronize();
    for (const tensor of [table, ids, rows]) tensor.dispose();
    recording.dispose();
    await device.close();
  });
});
