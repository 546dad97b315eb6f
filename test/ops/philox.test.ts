/** The kernels' Philox4x32-10 gives the answers published with Random123 (kat_vectors), seen through dropout. */
import { expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

/** Which of `count` ones survive dropout. */
async function kept(device: Device, count: number, attributes: number[]): Promise<boolean[]> {
  using x = Tensor.full(device, [count], 1);
  using y = x.like();
  launch('dropout', [x, y], [...attributes, count]);
  return [...(await y.readFloats())].map((value) => value !== 0);
}

it.each(['cpu', 'cpu-chaos'])('counter 0, key 0 on %s', async (name) => {
  const device = Device.open(name, { threads: 1 });
  const words = [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8];
  for (const [index, word] of words.entries()) {
    // Element i is kept exactly where its uniform, the upper 24 bits of word i, is at least p.
    const uniform = (word >>> 8) / 2 ** 24;
    expect((await kept(device, 4, [uniform, 0, 0, 0, 0]))[index]).toBe(true);
    expect((await kept(device, 4, [uniform + 2 ** -24, 0, 0, 0, 0]))[index]).toBe(false);
  }
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});

it('drops the share it was told to, independently of the threads and of how the elements are cut', async () => {
  const device = Device.open('cpu', { threads: 2 });
  const count = 200_000;
  const all = await kept(device, count, [0.3, 7, 1, 2, 0]);
  const share = all.filter(Boolean).length / count;
  // Five standard deviations of the mean of `count` draws.
  expect(Math.abs(share - 0.7)).toBeLessThan(5 * Math.sqrt((0.3 * 0.7) / count));
  const parts = [
    ...(await kept(device, 77_777, [0.3, 7, 1, 2, 0])),
    ...(await kept(device, count - 77_777, [0.3, 7, 1, 2, 77_777])),
  ];
  expect(parts).toEqual(all);
  for (const [index, other] of [
    [1, 8],
    [2, 2],
    [3, 3],
  ] as const) {
    const attributes = [0.3, 7, 1, 2, 0];
    attributes[index] = other;
    const different = (await kept(device, count, attributes)).filter((value, at) => value !== all[at]).length / count;
    // Two independent masks differ in 2·p·(1 − p) of the places.
    expect(Math.abs(different - 0.42)).toBeLessThan(0.01);
  }
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});
