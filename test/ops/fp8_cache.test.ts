/** A cache of fp8 is read as the numbers that it holds. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { integers, normal } from './harness/data.js';
import { fp8Numbers } from './harness/fp8.js';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 2 });
});
afterAll(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

it.each([
  { dtype: 'f32', H: 6, G: 2, D: 20 },
  { dtype: 'bf16', H: 6, G: 2, D: 33 },
  { dtype: 'bf16', H: 8, G: 4, D: 64 },
] as const)('$dtype, $H heads on $G of $D', async ({ dtype, H, G, D }) => {
  const [blocks, blockSize] = [14, 16];
  const [lengths, contexts] = [
    [1, 40, 1],
    [77, 90, 16],
  ];
  const T = lengths.reduce((sum, length) => sum + length, 0);
  const codes = [4, 5].map((seed) => Uint8Array.from(integers(seed, 0, 127)(blocks * blockSize * G * D)));
  const q = Tensor.from(device, Float32Array.from(normal(1)(T * H * D)), [T, H, D], dtype);
  const table = Tensor.from(
    device,
    Int32Array.from({ length: 18 }, (_, i) => (i * 5) % blocks),
    [3, 6],
  );
  const bounds = Tensor.from(device, Int32Array.from([0, 1, 41, 42]));
  const seen = Tensor.from(device, Int32Array.from(contexts));
  const outputs = [];
  for (const cached of ['fp8', dtype] as const) {
    const [key, value] = codes.map((all) => {
      const data = cached === 'fp8' ? all : Float32Array.from(all, (code) => fp8Numbers[code]!);
      return Tensor.from(device, data, [blocks, blockSize, G, D], cached);
    });
    const o = Tensor.empty(device, [T, H, D], dtype);
    launch('paged_attention', [q, key!, value!, table, bounds, seen, null, o], [0.01, 0]);
    outputs.push(Buffer.from(await o.readBytes()));
    for (const tensor of [key!, value!, o]) tensor.dispose();
  }
  for (const tensor of [q, table, bounds, seen]) tensor.dispose();
  expect(Buffer.compare(outputs[0]!, outputs[1]!)).toBe(0);
});
