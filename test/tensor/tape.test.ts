import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { add, cast, mul, scale } from '../../src/ops/elementwise.js';
import { linear } from '../../src/ops/matmul.js';
import { sum } from '../../src/ops/reduce.js';
import { reshape } from '../../src/ops/reshape.js';
import { rmsNorm } from '../../src/ops/rms_norm.js';
import { siluMul } from '../../src/ops/silu_mul.js';
import { checkpoint } from '../../src/tensor/checkpoint.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { atBackward, Tape } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';

describe.each(['cpu', 'cpu-chaos'])('the tape on %s', (name) => {
  let device: Device;
  const owned: Tensor[] = [];
  const parameter = (values: number[], shape: number[] = [values.length]): Tensor => {
    const tensor = Tensor.from(device, values, shape);
    tensor.requiresGrad = true;
    owned.push(tensor);
    return tensor;
  };
  const wave = (length: number, phase: number): number[] =>
    Array.from({ length }, (_, index) => Math.sin(index * 1.7 + phase));

  beforeEach(() => {
    device = Device.open(name, { threads: 2 });
  });
  afterEach(async () => {
    for (const tensor of owned.splice(0)) {
      tensor.grad?.dispose();
      tensor.dispose();
    }
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  const gradientOf = async (tensor: Tensor): Promise<number[]> => [...(await tensor.grad!.readFloats())];

  it('adds the gradients of every use, whatever the shape of the graph', async () => {
    const x = parameter([1, 2, 3]);
    using tape = new Tape();
    // f = Σ (x·x + 3x + x) with x reaching the sum by four ways: df/dx = 2x + 4
    const loss = tape.run(() => scope(() => sum(add(add(mul(x, x), scale(x, 3)), reshape(reshape(x, [3, 1]), [3])))));
    tape.backward(loss);
    loss.dispose();
    expect(await gradientOf(x)).toEqual([6, 8, 10]);
  });

  it('comes by marks with the gradients of all that follows, and of nothing before', async () => {
    const x = parameter([1, 2]);
    const y = parameter([3, 4]);
    const seen: string[] = [];
    const mark = (name: string) => atBackward(() => seen.push(`${name}${x.grad ? ' x' : ''}${y.grad ? ' y' : ''}`));
    using tape = new Tape();
    const loss = tape.run(() =>
      scope(() => {
        mark('start');
        const inner = checkpoint(
          (input) => {
            mark('inner');
            return mul(input, x);
          },
          scale(x, 2),
        );
        mark('middle');
        const outer = sum(mul(inner, y));
        mark('end');
        return outer;
      }),
    );
    expect(seen).toEqual([]);
    tape.backward(loss);
    loss.dispose();
    expect(seen).toEqual(['end', 'middle y', 'inner x y', 'start x y']);
    expect(await gradientOf(x)).toEqual([12, 32]);
    mark('without a tape');
    expect(seen).toHaveLength(4);
  });

  it('accumulates over backward passes into f32, from bf16 too', async () => {
    const x = parameter([1, 2, 3]);
    for (let pass = 1; pass <= 3; pass += 1) {
      using tape = new Tape();
      const loss = tape.run(() => scope(() => sum(mul(cast(x, 'bf16'), cast(x, 'bf16')))));
      tape.backward(loss);
      loss.dispose();
      expect(await gradientOf(x)).toEqual([2 * pass, 4 * pass, 6 * pass]);
      expect(x.grad!.dtype).toBe('f32');
    }
  });

  const layerLoss = (x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor, checkpointed: boolean): Tensor =>
    scope(() => {
      const layer = (input: Tensor): Tensor =>
        scope(() => {
          const normed = rmsNorm(input, norm, 1e-5);
          return add(input, linear(siluMul(linear(normed, gate), linear(normed, up)), down));
        });
      const run = (input: Tensor): Tensor => (checkpointed ? checkpoint(layer, input) : layer(input));
      const output = run(run(x));
      return sum(mul(output, output));
    });

  it('agrees with central differences through a block, and bit for bit with activation checkpointing', async () => {
    const build = (): Tensor[] => [
      parameter(wave(15, 0), [3, 5]),
      parameter(wave(5, 1)),
      parameter(wave(35, 2), [7, 5]),
      parameter(wave(35, 3), [7, 5]),
      parameter(wave(35, 4), [5, 7]),
    ];
    const evaluate = async (tensors: Tensor[], checkpointed: boolean, recompute = false): Promise<number[][]> => {
      using tape = new Tape({ recompute });
      const loss = tape.run(() => layerLoss(...(tensors as [Tensor, Tensor, Tensor, Tensor, Tensor]), checkpointed));
      tape.backward(loss);
      loss.dispose();
      return Promise.all(tensors.map(gradientOf));
    };
    const tensors = build();
    const plain = await evaluate(tensors, false);
    expect(await evaluate(build(), true)).toEqual(plain);
    expect(await evaluate(build(), false, true)).toEqual(plain);
    const lossAt = async (): Promise<number> => {
      using loss = layerLoss(...(tensors as [Tensor, Tensor, Tensor, Tensor, Tensor]), false);
      return (await loss.readFloats())[0]!;
    };
    for (const [index, tensor] of tensors.entries()) {
      const values = Float32Array.from(await tensor.readFloats());
      for (let element = 0; element < values.length; element += 4) {
        const sides: number[] = [];
        for (const step of [0.01, -0.01]) {
          tensor.write(values.map((value, at) => (at === element ? value + step : value)));
          sides.push(await lossAt());
        }
        tensor.write(values);
        const difference = (sides[0]! - sides[1]!) / 0.02;
        expect(Math.abs(difference - plain[index]![element]!)).toBeLessThan(0.01 * Math.max(1, Math.abs(difference)));
      }
    }
  });

  it('computes norms and gated activations again, once each, where it is told to', async () => {
    const x = parameter(wave(15, 0), [3, 5]);
    const norm = parameter(wave(5, 1));
    const weights = [2, 3, 4].map((phase) => parameter(wave(25, phase), [5, 5]));
    const count = () => new Map(device.profile().map(({ op, calls }) => [op, calls]));
    for (const recompute of [false, true]) {
      await device.synchronize();
      const before = count();
      using tape = new Tape({ recompute });
      const loss = tape.run(() =>
        scope(() => {
          const normed = rmsNorm(x, norm, 1e-5);
          const [a, b, c] = weights.map((weight) => linear(normed, weight)) as [Tensor, Tensor, Tensor];
          return sum(mul(siluMul(a, b), c));
        }),
      );
      const held = device.statistics().liveBytes;
      tape.backward(loss);
      await device.synchronize();
      const after = count();
      for (const op of ['rms_norm', 'silu_mul'] as const)
        expect(after.get(op)! - (before.get(op) ?? 0), op).toBe(recompute ? 2 : 1);
      expect(held).toBeGreaterThan(device.statistics().liveBytes);
      loss.dispose();
    }
  });

  it('refuses to compute again from what was changed in place', () => {
    const x = parameter([1, 2]);
    using y = Tensor.full(device, [2], 2);
    using tape = new Tape({ recompute: true });
    using loss = tape.run(() => scope(() => sum(mul(siluMul(x, y), x))));
    launch('fill', [y], [3]);
    expect(() => tape.backward(loss)).toThrow(/siluMul: .* was changed in place/);
  });

  it('refuses saved data that was changed in place, a promise, and a loss that depends on nothing', () => {
    const x = parameter([1, 2]);
    using y = Tensor.full(device, [2], 2);
    {
      using tape = new Tape();
      using loss = tape.run(() => scope(() => sum(mul(x, y))));
      launch('fill', [y], [3]);
      expect(() => tape.backward(loss)).toThrow(/mul: .* was changed in place/);
    }
    {
      using tape = new Tape();
      expect(() => tape.run(async () => undefined)).toThrow(/to be synchronous/);
      using loss = tape.run(() => scope(() => sum(y)));
      expect(() => tape.backward(loss)).toThrow(/depends on no parameter/);
    }
  });

  it('lets go of everything when the forward pass throws', () => {
    const x = parameter([1, 2]);
    const tape = new Tape();
    expect(() =>
      tape.run(() =>
        scope(() => {
          mul(x, x);
          throw new Error('midway');
        }),
      ),
    ).toThrow('midway');
    expect(device.statistics().liveTensors).toBe(1);
  });
});
