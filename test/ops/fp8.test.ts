/** Rounding to fp8, on every device, by the one operation that takes a number from outside. */
import { expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { deviceNames } from './harness/devices.js';
import { fp8Numbers, nearestFp8 } from './harness/fp8.js';

it.each(deviceNames)('rounds numbers to fp8 on %s', async (name) => {
  const device = Device.open(name);
  // Every number, what lies half-way between two and just beside that; what is out of range.
  const numbers = [...fp8Numbers.slice(0, 127)];
  const values = [...numbers, ...numbers.slice(1).map((number, index) => (number + numbers[index]!) / 2)];
  const around = values.flatMap((value) => [
    value,
    Math.fround(value * (1 + 2 ** -20)),
    Math.fround(value * (1 - 2 ** -20)),
  ]);
  const all = [...around, 2 ** -11, 2 ** -140, 448.1, 464, 465, 1e6, Number.POSITIVE_INFINITY];
  const wanted = [...all, ...all.map((value) => -value)];
  const tensor = Tensor.empty(device, [wanted.length], 'fp8');
  for (const [index, value] of wanted.entries()) {
    using element = tensor.narrow(0, index, 1);
    launch('fill', [element], [value]);
  }
  expect([...(await tensor.read())]).toEqual(wanted.map(nearestFp8));
  const nothing = Tensor.full(device, [1], Number.NaN, 'fp8');
  expect((await nothing.read())[0]! & 127).toBe(127);
  await device.close();
});
