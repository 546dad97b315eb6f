/** Operations that take many tensors at once: what they give is what they give for one tensor after another, bit for bit. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import type { DType } from '../../src/tensor/dtype.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { integers, normal, uniform } from './harness/data.js';
import { deviceNames } from './harness/devices.js';

const sizes = [300, 0, 1, 70_003, 256, 257, 4096, 7, 33_000];
const steps = 3;

describe.each(deviceNames)('on %s', (name) => {
  let device: Device;
  beforeEach(() => {
    device = Device.open(name, { threads: 2 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  const floats = (seed: number, size: number, scale: number, dtype: DType = 'f32') =>
    Tensor.from(device, Float32Array.from(normal(seed, scale)(size)), [size], dtype);

  /** The tensors of a parameter after a step: p, g, the state, low. */
  function makeGroup(op: 'adamw' | 'adamw_8bit', dtype: DType, index: number): (Tensor | null)[] {
    const size = sizes[index]!;
    const seed = 10 * index;
    const positive = (n: number, seed: number) => Tensor.from(device, Float32Array.from(uniform(seed, 0.01, 1)(n)));
    const codes = (seed: number) => Tensor.from(device, Uint8Array.from(integers(seed, 0, 256)(size)));
    const blocks = Math.ceil(size / 256);
    const state =
      op === 'adamw'
        ? [floats(seed + 3, size, 0.1), positive(size, seed + 4)]
        : [codes(seed + 3), positive(blocks, seed + 4), codes(seed + 5), positive(blocks, seed + 6)];
    const low = dtype === 'f32' && index % 2 === 0 ? Tensor.zeros(device, [size], 'bf16') : null;
    return [floats(seed + 1, size, 1, dtype), floats(seed + 2, size, 0.1), ...state, low];
  }

  it.each([
    ['adamw', 'f32'],
    ['adamw', 'bf16'],
    ['adamw_8bit', 'f32'],
    ['adamw_8bit', 'bf16'],
  ] as const)('%s updates %s parameters together as one by one, and when it is replayed', async (op, dtype) => {
    const common = [0.9, 0.999, 1e-8, 0.1, 77];
    const ways: Record<string, Uint8Array>[] = [];
    for (const way of ['one by one', 'together', 'replayed']) {
      using learningRate = Tensor.zeros(device, [1]);
      using step = Tensor.full(device, [1], 0, 'i32');
      using factor = Tensor.full(device, [1], 0.5);
      const groups = sizes.map((_, index) => makeGroup(op, dtype, index));
      const update = (indices: number[]): void => {
        const schedule = [learningRate, step, factor];
        const own = indices.flatMap((index) => [100 + index, 256 * index]);
        launch(op, [...schedule, ...indices.flatMap((index) => groups[index]!)], [...common, ...own]);
      };
      const all = sizes.map((_, index) => index);
      using recording = device.record({ learningRate, step }, () => {
        if (way === 'replayed') update(all);
      });
      for (let number = 1; number <= steps; number += 1) {
        recording.replay({ learningRate: [1e-3 / number], step: [number] });
        if (way === 'one by one') for (const index of all) update([index]);
        if (way === 'together') update(all);
      }
      const results: Record<string, Uint8Array> = {};
      for (const [index, tensors] of groups.entries())
        for (const [place, tensor] of tensors.entries()) {
          if (tensor) results[`${index}.${place}`] = await tensor.readBytes();
          tensor?.dispose();
        }
      ways.push(results);
    }
    const [single, ...others] = ways;
    for (const other of others)
      for (const [tensor, bytes] of Object.entries(single!))
        expect(Buffer.compare(bytes, other[tensor]!), tensor).toBe(0);
  });

  it('refuses a step that is not positive', async () => {
    using learningRate = Tensor.full(device, [1], 1e-3);
    using step = Tensor.full(device, [1], 0, 'i32');
    const groups = [0, 2].map((index) => makeGroup('adamw', 'f32', index));
    launch('adamw', [learningRate, step, null, ...groups.flat()], [0.9, 0.999, 1e-8, 0, 0, 1, 0, 2, 0]);
    await expect(groups[1]![0]!.read()).rejects.toThrow("Expected 'step' to be at least 1 but received 0");
    for (const tensor of groups.flat()) tensor?.dispose();
  });

  it('names the tensor of a group that is wrong', () => {
    scope(() => {
      const learningRate = Tensor.zeros(device, [1]);
      const step = Tensor.full(device, [1], 1, 'i32');
      const [first, second] = [0, 4].map((index) => makeGroup('adamw', 'f32', index));
      second![2] = Tensor.zeros(device, [255]);
      const attributes = [0.9, 0.999, 1e-8, 0, 0, 1, 0, 2, 0];
      expect(() => launch('adamw', [learningRate, step, null, ...first!, ...second!], attributes)).toThrow(
        "adamw: Expected 'm[1]' to have 256 elements but received [255]",
      );
      expect(() => launch('adamw', [learningRate, step, null, ...first!, ...second!], attributes.slice(0, 7))).toThrow(
        'adamw: Expected 8 tensors and 7 attributes but received 13 and 7',
      );
    });
  });

  it('sums the squares of many tensors with one rounding at the end', async () => {
    const tensors = sizes.map((size, index) => floats(index, size, 1));
    using acc = Tensor.full(device, [1], 3);
    launch('sum_squares', [acc, ...tensors]);
    let expected = 3;
    for (const tensor of tensors) for (const value of await tensor.readFloats()) expected += value ** 2;
    const [sum] = await acc.readFloats();
    expect(Math.abs(sum! - expected) / expected).toBeLessThan(1e-6);
    for (const tensor of tensors) tensor.dispose();
  });

  it('fills many tensors of one dtype', async () => {
    const tensors = sizes.map((size, index) => floats(index, size, 1, 'bf16'));
    launch('fill', tensors, [2]);
    for (const tensor of tensors) {
      expect((await tensor.readFloats()).every((value) => value === 2)).toBe(true);
      tensor.dispose();
    }
    const mixed = [Tensor.zeros(device, [2]), Tensor.zeros(device, [2], 'i32')];
    expect(() => launch('fill', mixed, [0])).toThrow(
      "fill: Expected 'y[1]' to have the dtype of 'y[0]', f32 but received i32",
    );
    for (const tensor of mixed) tensor.dispose();
  });
});
