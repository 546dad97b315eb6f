import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { measurePeak, windowFlops } from '../../src/training/utilisation.js';
import { openStudent } from './student.js';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu', { threads: 1 });
});
afterAll(() => device.close());

describe('windowFlops', () => {
  // `tied`: 2 layers of q, k, v, o, gate, up, down; hidden size 64, 4 heads on 2 of 16, 48 intermediate, vocabulary 131.
  const layer = 64 * 64 + 2 * 32 * 64 + 64 * 64 + 3 * 48 * 64;
  const head = 131 * 64;
  // Documents of 5, 7 and 3 tokens in two packs; 9 tokens trained.
  const packs = [
    { documents: [0, 2], tokens: 8, trained: 5 },
    { documents: [1], tokens: 7, trained: 4 },
  ];
  const window = {
    microBatches: packs.map((pack) => ({ packs: [pack], tokens: pack.tokens })),
    tokens: 15,
    trained: 9,
  };
  // A query sees itself and the keys before it: two products of 4 heads of 16 for each pair, and 2.5 times that backward.
  const pairs = 15 + 28 + 6;
  const attention = 3.5 * 2 * 2 * pairs * 4 * 16 * 2;

  it('is 6N and attention for full training', async () => {
    const { model } = await openStudent(device, 'tied', 'full');
    expect(windowFlops(model, window, [5, 7, 3])).toBe(6 * 15 * 2 * layer + 6 * 9 * head + attention);
    model.dispose();
  });

  it('is 4N, the adapters and attention for LoRA', async () => {
    const { model, parameters } = await openStudent(device, 'tied', 'lora');
    const adapters = [...parameters.values()].reduce((sum, { size }) => sum + size, 0);
    expect(windowFlops(model, window, [5, 7, 3])).toBe(15 * (4 * 2 * layer + 6 * adapters) + 4 * 9 * head + attention);
    model.dispose();
  });
});

describe('measurePeak', () => {
  it('measures what a CPU can do, and says where it cannot', async () => {
    const f32 = await measurePeak('cpu', 1, 'f32');
    expect(f32).toBeGreaterThan(1e9);
    expect(await measurePeak('cpu', 1, 'bf16')).toBeGreaterThan(f32! / 4);
    expect(await measurePeak('cpu-chaos', 1, 'f32')).toBeNull();
  });
});
