/** Gradients that come out of the tape agree with central differences of the f64 references. */
import { describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tape } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { typedArray } from './harness/arguments.js';
import { normal } from './harness/data.js';
import { centralDifferences, differentiable } from './harness/differentiable.js';

describe.each(['cpu', 'cpu-chaos'])('on %s', (deviceName) => {
  it.each(differentiable.map((entry) => [entry.name, entry] as const))('%s', async (_name, entry) => {
    const device = Device.open(deviceName, { threads: 2 });
    const tensors = Object.fromEntries(
      Object.entries(entry.inputs).map(([name, { data, shape, dtype }]) => {
        const values = typedArray(dtype, data!);
        return [name, Tensor.from(device, values, shape, dtype)] as const;
      }),
    );
    using tape = new Tape();
    for (const name of entry.wanted) tape.watch(tensors[name]!);
    const result = tape.run(() => scope(() => entry.run(tensors)));
    const upstream = normal(99)(result.size).map(Math.fround);
    const gradient = Tensor.from(device, Float32Array.from(upstream), result.shape);
    const gradients = tape.backward(
      result,
      gradient,
      entry.wanted.map((name) => tensors[name]!),
    );
    for (const [position, name] of entry.wanted.entries()) {
      const actual = await gradients[position]!.readFloats();
      const expected = centralDifferences(entry, name, upstream);
      expect(actual.length).toBe(expected.length);
      // A gradient here is a sum of at most some thirty products of numbers about 1, each rounded to f32.
      for (const [index, value] of expected.entries())
        expect(Math.abs(actual[index]! - value), `gradient of '${name}' [${index}]`).toBeLessThan(
          1e-5 * (1 + Math.abs(value)),
        );
    }
    for (const tensor of [...Object.values(tensors), result, gradient, ...gradients]) tensor!.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });
});
