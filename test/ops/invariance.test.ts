/** A row's result depends on that row alone: equal bits whatever stands beside it, however it is cut, stored or threaded. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OpName } from '../../src/native.js';
import { add, cast } from '../../src/ops/elementwise.js';
import { addRmsNorm, rmsNorm } from '../../src/ops/rms_norm.js';
import { Device } from '../../src/tensor/device.js';
import type { DType } from '../../src/tensor/dtype.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { typedArray } from './harness/arguments.js';
import { generator, normal } from './harness/data.js';
import { dequantised, quantised } from './harness/quantised.js';

let devices: Device[];
beforeAll(() => {
  devices = [1, 2].map((threads) => Device.open('cpu', { threads }));
});
afterAll(async () => {
  for (const device of devices) {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  }
});

type Argument = { shape: number[]; dtype: DType; data: ArrayLike<number> | null } | null;
const of = (dtype: DType, shape: number[], data: ArrayLike<number> | null): Argument => ({ dtype, shape, data });

/** Launches one operation and gives the bytes of its last argument. */
async function bytesOf(device: Device, op: OpName, tensors: Argument[], attributes: number[]): Promise<Buffer> {
  const placed = tensors.map((one) => {
    if (!one) return null;
    if (!one.data) return Tensor.empty(device, one.shape, one.dtype);
    return Tensor.from(device, typedArray(one.dtype, one.data), one.shape, one.dtype);
  });
  launch(op, placed, attributes);
  const bytes = await placed.at(-1)!.readBytes();
  for (const tensor of placed) tensor?.dispose();
  return Buffer.from(bytes);
}

const rowsOf = (data: ArrayLike<number>, first: number, count: number, row: number) =>
  Array.from(data).slice(first * row, (first + count) * row);

describe.each(['f32', 'bf16'] as const)('%s', (dtype) => {
  const bytes = dtype === 'f32' ? 4 : 2;

  it.each([3, 40, 300])('matmul_low_rank of %i rows is two products in f32, rounded once', async (M) => {
    const [N, K, R] = [70, 1071, 9];
    const draw = (seed: number, shape: number[]) =>
      Tensor.from(devices[0]!, typedArray(dtype, normal(seed)(shape[0]! * shape[1]!)), shape, dtype);
    const bits = await Promise.all(
      scope(() => {
        const [a, b, inner, outer] = [draw(1, [M, K]), draw(2, [N, K]), draw(3, [M, R]), draw(4, [N, R])];
        const together = Tensor.empty(devices[0]!, [M, N], dtype);
        launch('matmul_low_rank', [a, b, inner, outer, together], [1, 0, 0.3, 1]);
        const total = Tensor.empty(devices[0]!, [M, N], 'f32');
        launch('matmul', [a, b, total], [0, 1, 0, 1]);
        launch('matmul', [inner, outer, total], [0, 1, 1, 0.3]);
        return [together, cast(total, dtype)];
      }).map(async (tensor) => Buffer.from(await tensor.readBytes())),
    );
    expect(bits[0]!.equals(bits[1]!)).toBe(true);
  });

  it('add_rms_norm is add, then rms_norm', async () => {
    const [T, E] = [5, 71];
    const draw = (seed: number, shape: number[]) =>
      Tensor.from(devices[0]!, typedArray(dtype, normal(seed)(shape.reduce((n, size) => n * size, 1))), shape, dtype);
    const bits = await Promise.all(
      scope(() => {
        const [a, b, weight] = [draw(1, [T, E]), draw(2, [T, E]), draw(3, [E])];
        const { sum, normed } = addRmsNorm(a, b, weight, 1e-5);
        const separate = add(a, b);
        return [sum, separate, normed, rmsNorm(separate, weight, 1e-5)];
      }).map(async (tensor) => Buffer.from(await tensor.readBytes())),
    );
    expect(bits[0]!.equals(bits[1]!)).toBe(true);
    expect(bits[2]!.equals(bits[3]!)).toBe(true);
  });

  it.each([
    { transposeB: true, N: 70, K: 1071 },
    { transposeB: true, N: 33, K: 64 },
    { transposeB: false, N: 47, K: 1090 },
  ])('matmul rows for every number of rows, $N×$K transposeB $transposeB', async ({ transposeB, N, K }) => {
    const M = 300;
    const [a, b] = [normal(1)(M * K), normal(2)(N * K)];
    const run = (device: Device, first: number, rows: number) =>
      bytesOf(
        device,
        'matmul',
        [
          of(dtype, [rows, K], rowsOf(a, first, rows, K)),
          of(dtype, transposeB ? [N, K] : [K, N], b),
          of(dtype, [rows, N], null),
        ],
        [0, +transposeB, 0, 1],
      );
    const whole = await run(devices[0]!, 0, M);
    for (const rows of [1, 2, 3, 4, 5, 8, 17, 64, 129, 300])
      for (const device of devices) {
        const first = M - rows;
        const part = await run(device, first, rows);
        expect(Buffer.compare(part, whole.subarray(first * N * bytes)), `${rows} rows`).toBe(0);
      }
  });

  it.each([
    { form: 'fp8 tensor', first: {} },
    { form: 'fp8 block', first: {} },
    { form: 'fp8 block', first: { firstRow: 100, firstColumn: 9 } },
    { form: 'mxfp4', first: {} },
    { form: 'mxfp4', first: { firstColumn: 13 } },
  ] as const)('quantised_matmul as matmul with the dequantised weight, $form $first', async ({ form, first }) => {
    const [N, K] = [150, 1071];
    const attributes = { firstRow: 0, firstColumn: 0, ...first };
    const { weight, scales } = quantised(form, N, K, attributes);
    const stored = [weight, scales].map(({ dtype, shape, data }) => of(dtype, [...shape], data));
    const numbers = dequantised(
      { ...weight, data: weight.data! },
      { ...scales, data: scales.data! },
      [N, K],
      attributes,
      dtype,
    );
    for (const device of devices)
      for (const [rows, transposed] of [
        [1, 1],
        [17, 1],
        [257, 1],
        [33, 0],
      ] as const) {
        const [inputs, outputs] = transposed ? [K, N] : [N, K];
        const x = of(dtype, [rows, inputs], normal(1)(rows * inputs));
        const y = of(dtype, [rows, outputs], null);
        const { firstRow, firstColumn } = attributes;
        const [own, wanted] = [
          await bytesOf(device, 'quantised_matmul', [x, ...stored, y], [transposed, 0, firstRow, firstColumn]),
          await bytesOf(device, 'matmul', [x, of(dtype, [N, K], numbers), y], [0, transposed, 0, 1]),
        ];
        expect(Buffer.compare(own, wanted), `${rows} rows, transposed ${transposed}`).toBe(0);
      }
  });

  it('matmul layouts', async () => {
    const [M, N, K] = [21, 50, 1071];
    const [a, b] = [normal(1)(M * K), normal(2)(N * K)];
    const transposed = (data: Float64Array, rows: number, columns: number) =>
      Float64Array.from({ length: data.length }, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!);
    const results = [];
    for (const [transposeA, transposeB] of [
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ] as const)
      results.push(
        await bytesOf(
          devices[1]!,
          'matmul',
          [
            of(dtype, transposeA ? [K, M] : [M, K], transposeA ? transposed(a, M, K) : a),
            of(dtype, transposeB ? [N, K] : [K, N], transposeB ? b : transposed(b, N, K)),
            of(dtype, [M, N], null),
          ],
          [transposeA, transposeB, 0, 1],
        ),
      );
    for (const result of results) expect(Buffer.compare(result, results[0]!)).toBe(0);
  });

  it.each([
    { H: 3, G: 1, D: 64, window: 0, sinks: false },
    { H: 4, G: 2, D: 10, window: 0, sinks: true },
    { H: 2, G: 2, D: 33, window: 37, sinks: false },
  ])('attention packed, in chunks and token by token: $H heads on $G of $D, window $window', async (shape) => {
    const { H, G, D, window } = shape;
    const [length, blockSize] = [150, 7];
    const q = normal(1)(length * H * D);
    const [k, v] = [normal(2)(length * G * D), normal(3)(length * G * D)];
    const sinks = shape.sinks ? of('f32', [H], normal(4)(H)) : null;
    const attributes = [0.3, window];

    // Packed behind another document, so that no tile begins where it does alone.
    const before = 5;
    const behind = (data: Float64Array, row: number) => [...normal(9)(before * row), ...data];
    const device = devices[1]!;
    const packed = await (async () => {
      const tensors = [
        Tensor.from(device, Float32Array.from(behind(q, H * D)), [before + length, H, D], dtype),
        Tensor.from(device, Float32Array.from(behind(k, G * D)), [before + length, G, D], dtype),
        Tensor.from(device, Float32Array.from(behind(v, G * D)), [before + length, G, D], dtype),
        Tensor.from(device, Int32Array.from([0, before, before + length]), [3]),
        sinks && Tensor.from(device, Float32Array.from(sinks.data!), [H]),
        Tensor.empty(device, [before + length, H, D], dtype),
        Tensor.empty(device, [before + length, H], 'f32'),
      ];
      launch('attention', tensors, attributes);
      const output = Buffer.from(await tensors[5]!.readBytes()).subarray(before * H * D * bytes);
      for (const tensor of tensors) tensor?.dispose();
      return output;
    })();

    // Slot of a key: blocks handed out backwards. What was never written stays NaN.
    const blocks = Math.ceil(length / blockSize) + 2;
    const slotOf = (key: number) => (blocks - 1 - Math.floor(key / blockSize)) * blockSize + (key % blockSize);
    const cacheUpTo = (data: Float64Array, context: number) => {
      const cache = new Float64Array(blocks * blockSize * G * D).fill(Number.NaN);
      for (let key = 0; key < context; key += 1)
        cache.set(data.subarray(key * G * D, (key + 1) * G * D), slotOf(key) * G * D);
      return of(dtype, [blocks, blockSize, G, D], cache);
    };
    const table = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
    const next = generator(5);
    const chunks: [number, number][] = [
      [0, length],
      [0, 64],
      [64, 86],
      [63, 2],
    ];
    for (let token = 0; token < length; token += 1 + Math.floor(next() * 12)) chunks.push([token, 1]);
    for (const [first, count] of chunks) {
      const part = await bytesOf(
        devices[first % 2]!,
        'paged_attention',
        [
          of(dtype, [count, H, D], rowsOf(q, first, count, H * D)),
          cacheUpTo(k, first + count),
          cacheUpTo(v, first + count),
          of('i32', [1, blocks], table),
          of('i32', [2], [0, count]),
          of('i32', [1], [first + count]),
          sinks,
          of(dtype, [count, H, D], null),
        ],
        attributes,
      );
      const expected = packed.subarray(first * H * D * bytes, (first + count) * H * D * bytes);
      expect(Buffer.compare(part, expected), `tokens ${first} to ${first + count}`).toBe(0);
    }
  });

  it('a token that is NaN changes nothing before it', async () => {
    const [length, H, G, D] = [90, 2, 1, 12];
    const run = (from: number) => {
      const spoilt = (data: Float64Array) => data.map((x, i) => (i >= from * G * D ? Number.NaN : x));
      return (async () => {
        const tensors = [
          Tensor.from(devices[0]!, Float32Array.from(normal(1)(length * H * D)), [length, H, D], dtype),
          Tensor.from(devices[0]!, Float32Array.from(spoilt(normal(2)(length * G * D))), [length, G, D], dtype),
          Tensor.from(devices[0]!, Float32Array.from(spoilt(normal(3)(length * G * D))), [length, G, D], dtype),
          Tensor.from(devices[0]!, Int32Array.from([0, length]), [2]),
          null,
          Tensor.empty(devices[0]!, [length, H, D], dtype),
          Tensor.empty(devices[0]!, [length, H], 'f32'),
        ];
        launch('attention', tensors, [0.3, 0]);
        const output = Buffer.from(await tensors[5]!.readBytes());
        for (const tensor of tensors) tensor?.dispose();
        return output;
      })();
    };
    const clean = await run(length);
    for (const from of [1, 2, 31, 64, 77, 89]) {
      const rows = from * H * D * bytes;
      expect(Buffer.compare((await run(from)).subarray(0, rows), clean.subarray(0, rows)), `from ${from}`).toBe(0);
    }
  });

  it('log-probabilities of matmul’s logits: scored, sampled, alone and together', async () => {
    const [T, V, E] = [40, 1061, 70];
    const [hidden, weight] = [normal(1)(T * E), normal(2, 0.3)(V * E)];
    const device = devices[1]!;
    const tensors = {
      hidden: Tensor.from(device, Float32Array.from(hidden), [T, E], dtype),
      weight: Tensor.from(device, Float32Array.from(weight), [V, E], dtype),
      logits: Tensor.empty(device, [T, V], 'f32'),
      floats: Tensor.from(device, new Float32Array(T * 8), [T, 8]),
      ints: Tensor.from(device, new Int32Array(T * 4), [T, 4]),
      history: Tensor.from(device, new Int32Array(0), [0]),
      offsets: Tensor.from(device, new Int32Array(2 * T + 1), [2 * T + 1]),
      tokens: Tensor.empty(device, [T], 'i32'),
      sampled: Tensor.empty(device, [T], 'f32'),
      scored: Tensor.empty(device, [T], 'f32'),
      lse: Tensor.empty(device, [T], 'f32'),
    };
    launch('matmul', [tensors.hidden, tensors.weight, tensors.logits], [0, 1, 0, 1]);
    const { logits, floats, ints, history, offsets, tokens, sampled, scored, lse } = tensors;
    launch('sample', [logits, floats, ints, history, offsets, null, null, null, null, tokens, sampled, null, null]);
    launch('token_logprobs', [tensors.hidden, tensors.weight, tokens, scored, lse]);
    const [chosen, fromSampling, together] = [await tokens.read(), await sampled.read(), await scored.read()];
    expect(Buffer.compare(Buffer.from(together.buffer), Buffer.from(fromSampling.buffer))).toBe(0);
    for (const row of [0, 17, 39]) {
      const one = Tensor.from(device, Float32Array.from(rowsOf(hidden, row, 1, E)), [1, E], dtype);
      const target = Tensor.from(device, Int32Array.from([chosen[row]!]), [1]);
      const [alone, logSum] = [Tensor.empty(device, [1], 'f32'), Tensor.empty(device, [1], 'f32')];
      launch('token_logprobs', [one, tensors.weight, target, alone, logSum]);
      expect((await alone.read())[0]).toBe(together[row]);
      for (const tensor of [one, target, alone, logSum]) tensor.dispose();
    }
    for (const tensor of Object.values(tensors)) tensor.dispose();
  });
});
