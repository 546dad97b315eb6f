/** kv_write with angles gives the bits of the operations that it stands for. */
import { expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import type { DType } from '../../src/tensor/dtype.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { normal } from './harness/data.js';
import { deviceNames } from './harness/devices.js';

it.each(
  deviceNames.flatMap((device) =>
    (
      [
        ['f32', 'f32'],
        ['f32', 'fp8'],
        ['bf16', 'bf16'],
        ['bf16', 'fp8'],
      ] as const
    ).map(([dtype, cached]) => ({ device, dtype, cached })),
  ),
)('on $device, $dtype into $cached', async ({ device: name, dtype, cached }) => {
  const device = Device.open(name, { threads: 2 });
  const [T, H, G, D] = [70, 6, 2, 50];
  const floats = (seed: number, shape: number[], type: DType = dtype, scale = 1) =>
    Tensor.from(device, Float32Array.from(normal(seed, scale)(shape.reduce((n, size) => n * size))), shape, type);
  const slots = Tensor.from(
    device,
    Int32Array.from({ length: T }, (_, t) => (t % 9 === 4 ? -1 : (t * 11) % 80)),
  );
  for (const R of [50, 32, 14]) {
    const [q, k, v] = [floats(1, [T, H, D]), floats(2, [T, G, D], dtype, 40), floats(3, [T, G, D], dtype, 200)];
    const table = floats(4, [T, R], 'f32');
    const cache = () => Tensor.zeros(device, [10, 8, G, D], cached);
    const [apart, together] = [0, 1].map(() => ({ key: cache(), value: cache() }));
    const [turnedQ, turnedK] = [q.like(), k.like()];
    launch('rotary', [q, table, turnedQ], [1]);
    launch('rotary', [k, table, turnedK], [1]);
    launch('kv_write', [turnedK, v, slots, apart!.key, apart!.value, null, null]);
    launch('kv_write', [k, v, slots, together!.key, together!.value, table, q]);
    for (const [actual, expected] of [
      [q, turnedQ],
      [together!.key, apart!.key],
      [together!.value, apart!.value],
    ] as const)
      expect(Buffer.compare(await actual.readBytes(), await expected.readBytes()), `${R} of ${D} turn`).toBe(0);
    for (const tensor of [q, k, v, table, turnedQ, turnedK]) tensor.dispose();
    for (const { key, value } of [apart!, together!]) {
      key.dispose();
      value.dispose();
    }
  }
  slots.dispose();
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});
