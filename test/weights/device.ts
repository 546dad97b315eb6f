import { afterAll, beforeAll, expect } from 'vitest';
import { Device } from '../../src/tensor/device.js';

/** The CPU, open while the tests of the importing file run; they leave no tensor behind. */
export let device: Device;

beforeAll(() => {
  device = Device.open('cpu', { threads: 1 });
});
afterAll(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});
