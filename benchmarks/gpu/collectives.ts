/**
 * The collectives of one rank on a GPU: NCCL is found, joins, gives right results beside other work, and what they add to a step.
 *
 *   node dist/benchmarks/gpu/collectives.js [device]
 */
import { Communicator } from '../../src/distributed/communicator.js';
import { native } from '../../src/native.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

const name = process.argv[2] ?? 'cuda:0';
const emulated = name === 'cuda-emulated';
const missing = emulated ? undefined : native.cudaLibraries().find(({ title, path }) => title === 'NCCL' && !path);
if (missing) {
  console.log(`SKIPPED: ${missing.problem}`);
  process.exit(0);
}
const device = Device.open(name);
const communicator = new Communicator(device, `collectives-${process.pid}`, 0, 1, { timeoutSeconds: 60 });

const values = Float32Array.from({ length: 1001 }, (_, index) => Math.fround(Math.sin(index)));
for (const dtype of ['f32', 'bf16'] as const) {
  using x = Tensor.from(device, values, [1001], dtype);
  const expected = await x.readFloats();
  communicator.allReduce(x);
  using gathered = communicator.allGather(x);
  using scattered = communicator.reduceScatter(gathered);
  communicator.broadcast(scattered, 0);
  for (const [what, tensor] of Object.entries({ x, gathered, scattered })) {
    const same = Buffer.compare(Buffer.from(expected.buffer), Buffer.from((await tensor.readFloats()).buffer)) === 0;
    console.log(`one rank's collectives, ${dtype}, ${what}: ${same ? 'ok' : 'FAILED: other bits than before'}`);
    if (!same) process.exitCode = 1;
  }
}

// A step in the shape of training: products, each with a gradient that travels while the next one is at work.
const size = emulated ? 16 : 4096;
const layers = emulated ? 2 : 16;
using weight = Tensor.full(device, [size, size], 1e-3, 'bf16');
using input = Tensor.full(device, [size, size], 1, 'bf16');
async function seconds(parallel: boolean): Promise<number> {
  const start = performance.now();
  for (let layer = 0; layer < layers; layer += 1) {
    using gradient = linear(input, weight);
    if (parallel) communicator.allReduce(gradient);
  }
  await device.synchronize();
  return (performance.now() - start) / 1e3;
}
const times = { alone: [] as number[], parallel: [] as number[] };
for (let round = 0; round < (emulated ? 2 : 21); round += 1) {
  const [alone, parallel] = [await seconds(false), await seconds(true)];
  if (round === 0) continue; // what is loaded or joined at first
  times.alone.push(alone);
  times.parallel.push(parallel);
}
const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1]!;
const [alone, parallel] = [median(times.alone), median(times.parallel)];
console.log(
  `${layers} products of ${size}³: ${(alone * 1e3).toFixed(2)} ms, with a collective behind each ${(parallel * 1e3).toFixed(2)} ms, ` +
    `${(100 * (parallel / alone - 1)).toFixed(1)} % more`,
);
await device.close();
