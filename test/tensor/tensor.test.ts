import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';

describe.each(['cpu', 'cpu-chaos'])('tensors on %s', (name) => {
  let device: Device;
  beforeEach(() => {
    device = Device.open(name, { threads: 2 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  it('copies host data at once and reads it back in stream order', async () => {
    const data = Float32Array.of(1, 2, 3, 4, 5, 6);
    using x = Tensor.from(device, data, [2, 3]);
    data.fill(9);
    const before = x.read();
    launch('fill', [x], [7]);
    expect([...(await before)]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...(await x.read())]).toEqual([7, 7, 7, 7, 7, 7]);
  });

  it('keeps what is enqueued alive when the tensor is disposed, and reuses its memory only later in the stream', async () => {
    const results: Promise<Float32Array>[] = [];
    for (let round = 0; round < 50; round += 1) {
      const x = Tensor.full(device, [1000], round);
      const y = x.like();
      launch('scale', [x, y], [2]);
      x.dispose();
      results.push(y.readFloats());
      y.dispose();
    }
    for (const [round, values] of (await Promise.all(results)).entries())
      expect(values.every((value) => value === 2 * round)).toBe(true);
  });

  it('narrows along the first and the last dimension', async () => {
    using x = Tensor.from(
      device,
      Float32Array.from({ length: 12 }, (_, index) => index),
      [3, 4],
    );
    using rows = x.narrow(0, 1, 2);
    using columns = rows.narrow(1, 1, 2);
    expect([...(await rows.read())]).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
    expect([...(await columns.read())]).toEqual([5, 6, 9, 10]);
    launch('fill', [columns], [0]);
    expect([...(await x.read())]).toEqual([0, 1, 2, 3, 4, 0, 0, 7, 8, 0, 0, 11]);
    expect(() => x.narrow(0, 2, 2)).toThrow(/within the 3 indices/);
  });

  it('stores floats as bf16, rounding to nearest even', async () => {
    using x = Tensor.from(device, Float32Array.of(1, 1.00390625, 1.01171875, -0, Number.NaN, 3e38), [6], 'bf16');
    expect([...(await x.read())]).toEqual([1, 1, 1.015625, -0, Number.NaN, 1.765625 * 2 ** 127]);
  });

  it('disposes what a scope made, but not what it returns', async () => {
    const kept = scope(() => {
      Tensor.zeros(device, [10]);
      return { inside: [scope(() => Tensor.full(device, [1], 3))] };
    });
    expect(device.statistics().liveTensors).toBe(1);
    expect([...(await kept.inside[0]!.read())]).toEqual([3]);
    kept.inside[0]!.dispose();
    expect(() => scope(() => { Tensor.zeros(device, [1]); throw new Error('inside'); })).toThrow('inside'); // biome-ignore format: one line
    expect(() => scope(async () => Tensor.zeros(device, [1]))).toThrow(/to be synchronous but it returned a promise/);
  });

  it('refuses disposed tensors, wrong shapes and foreign devices, naming the argument', async () => {
    const gone = Tensor.zeros(device, [2]);
    gone.dispose();
    using x = Tensor.zeros(device, [2, 3]);
    using wrong = Tensor.zeros(device, [3, 2]);
    expect(() => launch('scale', [gone, x], [1])).toThrow(/was disposed/);
    expect(() => launch('scale', [x, wrong], [1])).toThrow(
      /Expected 'y' to have the shape of 'x', \[2, 3\] but received \[3, 2\]/,
    );
    const other = Device.open('cpu');
    using foreign = Tensor.zeros(other, [2, 3]);
    expect(() => launch('scale', [x, foreign], [1])).toThrow(/another device/);
    foreign.dispose();
    await other.close();
  });

  it('poisons what depends on a failed operation, and nothing else', async () => {
    using table = Tensor.zeros(device, [4, 2]);
    using ids = Tensor.from(device, Int32Array.of(0, 9));
    using rows = Tensor.empty(device, [2, 2]);
    using doubled = rows.like();
    using untouched = Tensor.full(device, [2], 5);
    launch('embedding', [table, ids, rows]);
    launch('scale', [rows, doubled], [2]);
    await expect(doubled.read()).rejects.toThrow(/embedding\(.*ids i32\[2\].*9/s);
    expect([...(await untouched.read())]).toEqual([5, 5]);
    expect([...(await ids.read())]).toEqual([0, 9]);
  });

  it('fails an allocation at enqueue and goes on', async () => {
    native.failAllocationsAfter(device.id, 1);
    using first = Tensor.empty(device, [8]);
    expect(() => Tensor.empty(device, [8])).toThrow(/failed on demand/);
    native.failAllocationsAfter(device.id, -1);
    using second = Tensor.full(device, [8], 1);
    launch('copy', [second, first]);
    expect((await first.readFloats())[7]).toBe(1);
  });
});

describe('memory', () => {
  it('has a limit, with the remedy in the message, and gives blocks back at close', async () => {
    const device = Device.open('cpu', { memoryLimit: 10 << 20 });
    const x = Tensor.empty(device, [1 << 20]);
    expect(() => Tensor.empty(device, [2 << 20])).toThrow(/limit of 10 MiB.*activation checkpointing/);
    x.dispose();
    using y = Tensor.empty(device, [2 << 20]);
    expect(device.statistics().liveBytes).toBe(8 << 20);
    expect(device.statistics().reservedBytes).toBe(8 << 20);
    y.dispose();
    await device.close();
  });

  it('fills chaos memory with NaN on allocation', async () => {
    const device = Device.open('cpu-chaos');
    using x = Tensor.empty(device, [3]);
    expect([...(await x.read())]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    x.dispose();
    await device.close();
  });
});
