// The fused cross-entropy never holds all logits: what a vocabulary sixteen times as large costs is less than the logits of one chunk
// of tokens. Measured as the peak resident memory of a process of its own.
import { execFileSync } from 'node:child_process';
import { pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';

const size = 16;
const tokens = 1024;
/** kChunk of kernels/cross_entropy/logits.h. */
const chunkTokens = 256;

/** Peak bytes of a process that computes loss and both gradients once. */
function peakBytes(vocabulary: number): number {
  const source = (file: string) => JSON.stringify(pathToFileURL(`dist/src/tensor/${file}.js`).href);
  const script = `
    const { Device } = await import(${source('device')});
    const { Tensor } = await import(${source('tensor')});
    const { launch } = await import(${source('launch')});
    const device = Device.open('cpu', { threads: 2 });
    const [V, E, T] = [${vocabulary}, ${size}, ${tokens}];
    const full = (shape, value) => Tensor.full(device, shape, value);
    const targets = Tensor.from(device, Int32Array.from({ length: T }, (_, token) => (token * 7919) % V));
    const results = [full([T], 0), full([T, E], 0), full([V, E], 0)];
    launch('linear_cross_entropy', [full([T, E], 0.1), full([V, E], 0.1), targets, full([T], 1), ...results]);
    const [loss] = await results[0].readFloats();
    console.log(JSON.stringify({ loss, peak: process.resourceUsage().maxRSS * 1024 }));
    await device.close();`;
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  const { loss, peak } = JSON.parse(output) as { loss: number; peak: number };
  expect(loss).toBeCloseTo(Math.log(vocabulary), 3);
  return peak;
}

it('takes less than one chunk of logits more for 128k tokens than for 8k', () => {
  const [small, large] = [8 << 10, 128 << 10];
  const tables = 2 * 4 * size * (large - small);
  const difference = peakBytes(large) - peakBytes(small) - tables;
  console.log(
    `cross-entropy: ${Math.round(difference / 1e6)} MB more; all logits have ${Math.round((4 * tokens * large) / 1e6)} MB`,
  );
  expect(difference).toBeLessThan(4 * chunkTokens * large);
});
