import { expect, it } from 'vitest';
import { loraLinear } from '../../src/ops/lora.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { uniform } from '../../src/training/philox.js';

// An output element near 4 has bf16 steps of 1/64; the adapter adds about a sixth of that to each.
it('keeps in the mean what a young adapter adds in bf16, though it is less than half a step of the output', async () => {
  const device = Device.open('cpu', { threads: 2 });
  const [T, K, N, r] = [32, 64, 48, 4];
  const draw = (stream: number, shape: [number, number], bound: number, dtype: 'f32' | 'bf16') =>
    Tensor.from(device, uniform(3, 1, stream, shape[0] * shape[1], -bound, bound), shape, dtype);
  const [x, weight] = [draw(1, [T, K], 2, 'bf16'), draw(2, [N, K], 1, 'bf16')];
  const [a, b] = [draw(3, [r, K], 1 / 8, 'f32'), draw(4, [N, r], 2e-3, 'f32')];
  const [adapted, base, added] = await Promise.all(
    scope(() => {
      const zero = Tensor.zeros(device, [N, K], 'bf16');
      return [loraLinear(x, weight, a, b, 1, null), linear(x, weight), loraLinear(x, zero, a, b, 1, null)];
    }).map((tensor) => tensor.readFloats()),
  );
  let [share, square, lost] = [0, 0, 0];
  for (const [index, addition] of added!.entries()) {
    share += (adapted![index]! - base![index]!) * addition;
    square += addition * addition;
    if (Math.abs(addition) < Math.abs(base![index]!) * 2 ** -9) ++lost;
  }
  expect(lost / added!.length).toBeGreaterThan(0.8); // a sum of rounded parts would lose these
  expect(share / square).toBeGreaterThan(0.7);
  expect(share / square).toBeLessThan(1.3);
  await device.close();
});
