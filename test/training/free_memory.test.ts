import { expect, it } from 'vitest';
import { freeMemory } from '../../src/training/free_memory.js';

it('is what the process may take on the CPU, and what every GPU has free', async () => {
  expect(await freeMemory('cpu', 2)).toBeGreaterThan(0);
  process.env.COMPRESS_DISTILL_EMULATION_MEMORY = String(50 << 20);
  try {
    const one = await freeMemory('cuda-emulated', 1);
    expect(one).toBeGreaterThan(45 << 20);
    expect(one).toBeLessThanOrEqual(50 << 20);
    expect(await freeMemory('cuda-emulated', 2)).toBeGreaterThan(90 << 20);
  } finally {
    delete process.env.COMPRESS_DISTILL_EMULATION_MEMORY;
  }
});
