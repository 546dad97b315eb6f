/** Runs one case of an operation and says what is wrong with the result. */
import type { Device } from '../../../src/tensor/device.js';
import { disposeAll, launchCase, type Placed, type Poison, placeAll, unexpectedChanges } from './arguments.js';
import { differences, expectedOf } from './compare.js';
import type { OpCase, OpCases } from './types.js';

export interface CaseResult {
  /** What the operation wrote, by argument. */
  readonly bytes: Map<string, Uint8Array>;
  /** Where it differs from the reference, and what changed that it must leave alone; empty when all is well. */
  readonly wrong: string[];
}

/** @param poison what is in the memory to be overwritten */
export async function runCase(device: Device, cases: OpCases, one: OpCase, poison: Poison): Promise<CaseResult> {
  let placed: (Placed | null)[] = [];
  try {
    placed = await placeAll(device, cases.op, one.tensors, poison);
    launchCase(device, cases.op, placed, one.attributes);
    const attributes = (typeof one.attributes === 'function' ? one.attributes(device) : one.attributes) ?? {};
    const expected = expectedOf(cases, one, attributes);
    const bytes = new Map<string, Uint8Array>();
    const wrong: string[] = [];
    for (const argument of placed) {
      if (!argument || argument.access === 'in') continue;
      const { name, tensor } = argument;
      const found = differences(await tensor.read(), expected[name]!, one.roundings ?? cases.roundings);
      wrong.push(...found.map((difference) => `'${name}': ${difference}`));
      bytes.set(name, await tensor.readBytes());
    }
    wrong.push(...(await unexpectedChanges(placed)));
    return { bytes, wrong };
  } finally {
    disposeAll(placed);
  }
}
