/** Numbers that only the running kernel can see are refused by name, and what the operation writes is poisoned. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { disposeAll, launchCase, placeAll } from './harness/arguments.js';
import { input } from './harness/data.js';
import { deviceNames, implemented } from './harness/devices.js';
import { casesOf } from './harness/registry.js';
import type { TensorSpec } from './harness/types.js';

const ints = (values: number[], shape = [values.length]): TensorSpec => input('i32', shape, values);

// Each stands in for one argument of the operation's odd-sized case; what the message says.
const wrong: [string, string, TensorSpec, string][] = [
  ['attention', 'cuSeqlens', ints([0, 5, 72, 71]), "'cuSeqlens' to never fall, after 72 but received 71"],
  [
    'attention',
    'cuSeqlens',
    ints([0, 5, 72, 72]),
    "'cuSeqlens' to end at 73 (the number of packed tokens) but received 72",
  ],
  ['attention', 'cuSeqlens', ints([1, 5, 72, 73]), "'cuSeqlens' to start at 0 but received 1"],
  [
    'attention_backward',
    'cuSeqlens',
    ints([0, 5, 72, 74]),
    "'cuSeqlens' to end at 73 (the number of packed tokens) but received 74",
  ],
  ['take_sampled', 'ids', ints([5, -3, 0, -4, -2, 1, -1]), "'ids' to be at least -3 but received -4 at index 3"],
  [
    'kv_write',
    'slots',
    ints([7, -1, 0, 15, -1]),
    "'slots' to be -1 or below 15 (blocks times block size) for token 3 but received 15",
  ],
  [
    'kv_write',
    'slots',
    ints([7, -2, 0, 14, -1]),
    "'slots' to be -1 or below 15 (blocks times block size) for token 1 but received -2",
  ],
  [
    'paged_attention',
    'cuSeqlens',
    ints([0, 1, 6, 72]),
    "'cuSeqlens' to end at 73 (the number of packed tokens) but received 72",
  ],
  [
    'paged_attention',
    'contextLengths',
    ints([70, 4, 67]),
    "'contextLengths' to cover the 5 query tokens in sequence 1 but received 4",
  ],
  [
    'paged_attention',
    'contextLengths',
    ints([71, 9, 67]),
    "'blockTable' to have 11 blocks for 71 tokens in sequence 0 but received 10",
  ],
  [
    'paged_attention',
    'contextLengths',
    ints([70, 16, 67]),
    "'blockTable' to name a block below 23 at place 2 in sequence 1 but received -5",
  ],
  [
    'token_logprobs',
    'targets',
    ints([0, 1, 2, 67, 4, 5, 6]),
    "'targets' to be -1 or below 67 (the vocabulary) for token 3 but received 67",
  ],
  [
    'token_logprobs_backward',
    'targets',
    ints([0, 1, 2, -3, 4, 5, 6]),
    "'targets' to be -1 or below 67 (the vocabulary) for token 3 but received -3",
  ],
  [
    'merge_logprobs',
    'targets',
    ints(Array.from({ length: 37 }, (_, t) => (t === 9 ? 11 : 0))),
    "'targets' to be -1 or below 11 (the vocabulary) for token 9 but received 11",
  ],
  [
    'local_ids',
    'ids',
    ints(Array.from({ length: 41 }, (_, n) => (n === 7 ? -2 : 0))),
    "'ids' to be in [-1, 11) but received -2 at index 7",
  ],
  [
    'linear_cross_entropy',
    'targets',
    ints([0, 1, 2, 3, 4, 5, 99]),
    "'targets' to be -1 or below 67 (the vocabulary) for token 6 but received 99",
  ],
];

describe.each(deviceNames)('%s', (name) => {
  const here = implemented(name);
  let device: Device;
  beforeAll(() => {
    device = Device.open(name, { threads: 2 });
  });
  afterAll(() => device.close());

  it.each(wrong.filter(([op]) => here.has(op)))('%s refuses wrong %s', async (op, argument, spec, words) => {
    const good = casesOf.get(op as never)!.cases.find(({ kind }) => kind === 'odd')!;
    const placed = await placeAll(device, op, { ...good.tensors, [argument]: spec }, { float: 0, integer: 0 });
    try {
      launchCase(device, op, placed, good.attributes);
      const written = placed.find((one) => one && one.access !== 'in')!;
      const message = await written.tensor.read().then(
        () => 'was accepted',
        (error: Error) => error.message,
      );
      expect(message).toContain(`${op}: Expected ${words}`);
    } finally {
      disposeAll(placed);
    }
    expect(device.statistics().liveTensors).toBe(0);
  });
});
