/**
 * Every case of every operation on every device present: the result agrees with the f64 reference; a second run, with other
 * threads and with other garbage in the memory to be overwritten, gives the same bits; inputs and the surroundings of views stay as
 * they were; nothing is leaked.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { disposeAll, launchCase, type Placed, placeAll, unexpectedChanges } from './harness/arguments.js';
import { differences, expectedOf } from './harness/compare.js';
import { deviceNames, implemented } from './harness/devices.js';
import { casesOf } from './harness/registry.js';
import type { OpCase, OpCases } from './harness/types.js';

async function run(
  device: Device,
  cases: OpCases,
  one: OpCase,
  poison: Parameters<typeof placeAll>[3],
): Promise<Map<string, Uint8Array>> {
  let placed: (Placed | null)[] = [];
  try {
    placed = await placeAll(device, cases.op, one.tensors, poison);
    launchCase(device, cases.op, placed, one.attributes);
    const results = new Map<string, Uint8Array>();
    const attributes = (typeof one.attributes === 'function' ? one.attributes(device) : one.attributes) ?? {};
    const expected = expectedOf(cases, one, attributes);
    for (const argument of placed) {
      if (!argument || argument.access === 'in') continue;
      const actual = await argument.tensor.read();
      expect(differences(actual, expected[argument.name]!, one.roundings ?? cases.roundings), argument.name).toEqual(
        [],
      );
      results.set(argument.name, await argument.tensor.readBytes());
    }
    expect(await unexpectedChanges(placed)).toEqual([]);
    return results;
  } finally {
    disposeAll(placed);
  }
}

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
      const first = await run(devices[0]!, cases, one, { float: Number.NaN, integer: 77 });
      const second = await run(devices[1]!, cases, one, { float: 3e4, integer: 88 });
      for (const [argument, bytes] of first)
        expect(Buffer.compare(bytes, second.get(argument)!), `bits of '${argument}' with 1 and 2 threads`).toBe(0);
      for (const device of devices) expect(device.statistics().liveTensors).toBe(0);
    });
  }
});
