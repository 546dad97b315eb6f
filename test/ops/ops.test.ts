/**
 * Every case of every operation on every device present: the result agrees with the f64 reference; a second run, with other
 * threads and with other garbage in the memory to be overwritten, gives the same bits; inputs and the surroundings of views stay as
 * they were; nothing is leaked.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { deviceNames, implemented } from './harness/devices.js';
import { casesOf } from './harness/registry.js';
import { runCase } from './harness/run_case.js';

describe.each(deviceNames)('%s', (name) => {
  const here = implemented(name);
  let devices: Device[];
  beforeAll(() => {
    devices = [Device.open(name, { threads: 2 }), Device.open(name, { threads: 1 })];
  });
  afterAll(async () => {
    for (const device of devices) await device.close();
  });

  for (const cases of casesOf.values()) {
    if (!here.has(cases.op)) continue;
    it.each(cases.cases.map((one) => [one.name, one] as const))(`${cases.op}: %s`, async (_name, one) => {
      const first = await runCase(devices[0]!, cases, one, { float: Number.NaN, integer: 77 });
      const second = await runCase(devices[1]!, cases, one, { float: 3e4, integer: 88 });
      expect([first.wrong, second.wrong]).toEqual([[], []]);
      for (const [argument, bytes] of first.bytes)
        expect(Buffer.compare(bytes, second.bytes.get(argument)!), `bits of '${argument}' with 1 and 2 threads`).toBe(
          0,
        );
      for (const device of devices) expect(device.statistics().liveTensors).toBe(0);
    });
  }
});
