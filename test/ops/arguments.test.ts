/** Wrong arguments are refused when they are enqueued, with a message that names the argument, what was expected and what came. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { native } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
import type { DType } from '../../src/tensor/dtype.js';
import { disposeAll, launchCase, type Placed, placeAll } from './harness/arguments.js';
import { casesOf } from './harness/registry.js';
import type { OpCase } from './harness/types.js';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 1 });
});
afterAll(() => device.close());

async function messageOf(op: string, tensors: OpCase['tensors'], attributes: OpCase['attributes']): Promise<string> {
  let placed: (Placed | null)[] = [];
  try {
    placed = await placeAll(device, op, tensors, { float: 0, integer: 0 });
    launchCase(device, op, placed, attributes);
    return 'was accepted';
  } catch (error) {
    return (error as Error).message;
  } finally {
    disposeAll(placed);
    expect(device.statistics().liveTensors).toBe(0);
  }
}

const names = (op: string) =>
  native
    .listOps('cpu')
    .find(({ name }) => name === op)!
    .tensors.map(({ name }) => name);

for (const cases of casesOf.values()) {
  describe(cases.op, () => {
    it.each(cases.bad.map((bad) => [bad.name, bad] as const))('refuses %s', async (_name, bad) => {
      expect(await messageOf(cases.op, bad.tensors, bad.attributes)).toBe(bad.message);
    });

    const good = cases.cases.find(({ kind }) => kind === (cases.scalar ? 'one' : 'odd'))!;
    for (const { name, optional } of native.listOps('cpu').find((contract) => contract.name === cases.op)!.tensors) {
      const spec = good.tensors[name];
      if (!spec) continue;

      it(`refuses '${name}' of a dtype it has no use for`, async () => {
        // Some arguments take more than one dtype; one that nobody takes is always left.
        const others = (['u8', 'i32', 'bf16', 'f32'] as DType[]).filter((dtype) => dtype !== spec.dtype);
        const messages = [];
        for (const dtype of others) {
          const whole = dtype === 'u8' || dtype === 'i32';
          const data = spec.data?.map((value) => (whole ? Math.abs(Math.trunc(value)) % 100 : value)) ?? null;
          messages.push(
            await messageOf(cases.op, { ...good.tensors, [name]: { ...spec, dtype, data } }, good.attributes),
          );
        }
        const refused = messages.filter((message) => message !== 'was accepted');
        if (cases.op !== 'fill' && cases.op !== 'broadcast') expect(refused).not.toEqual([]);
        for (const message of refused) {
          const match = /^(\w+): Expected '(\w+)' to (be|have) .+ but received (f32|bf16|i32|u8|fp8)$/.exec(message);
          expect(match, message).not.toBeNull();
          expect(match![1]).toBe(cases.op);
          expect(names(cases.op)).toContain(match![2]);
        }
      });

      if (!optional && names(cases.op).length > 1)
        it(`refuses a missing '${name}'`, async () => {
          const { [name]: _missing, ...rest } = good.tensors;
          const message = await messageOf(cases.op, rest, good.attributes);
          expect(message).toBe(`${cases.op}: Expected '${name}' but received nothing`);
        });
    }
  });
}
