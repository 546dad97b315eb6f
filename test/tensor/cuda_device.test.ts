/** What a device with memory and a stream of its own does differently, on the emulated one; and CUDA where there is none. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

describe('cuda-emulated', () => {
  let device: Device;
  beforeEach(() => {
    device = Device.open('cuda-emulated', { threads: 1 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  it('keeps the order of writes and reads over many fences', async () => {
    using x = Tensor.empty(device, [3], 'i32');
    const reads = Array.from({ length: 2000 }, (_, step) => {
      x.write(Int32Array.of(step, step + 1, step + 2));
      return x.read();
    });
    for (const [step, data] of (await Promise.all(reads)).entries())
      expect([...data]).toEqual([step, step + 1, step + 2]);
  });

  it('settles a fence behind more commands than it launches ahead', async () => {
    using x = Tensor.empty(device, [1]);
    for (let step = 0; step < 5000; step += 1) x.write(Float32Array.of(step));
    await device.synchronize();
    expect([...(await x.read())]).toEqual([4999]);
  });

  it('fills memory that nobody wrote with NaN', async () => {
    using x = Tensor.empty(device, [4]);
    expect([...(await x.read())]).toEqual([NaN, NaN, NaN, NaN]);
  });

  it('says what it is', () => {
    const { instructionSet, accelerator } = device.statistics();
    expect(instructionSet).toBe('cuda-emulated');
    expect(accelerator?.description).toContain('emulated');
  });
});

describe('a device that is not there', () => {
  it.each(['cuda:', 'cuda:x', 'cuda:1000', 'gpu', 'cuda-emulated:1'])('refuses %s', (name) => {
    expect(() => Device.open(name)).toThrow(`Expected device 'cpu' or 'cuda:N' but received '${name}'`);
  });
});
