/**
 * What a recording spares: a chain of small operations, as a decode step has them, enqueued one by one and replayed. Prints one JSON
 * object; times are seconds of the whole chain, median, the device's work included.
 *
 *   node dist/benchmarks/gpu/replay.js [device]
 */
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

const name = process.argv[2] ?? 'cuda:0';
const emulated = name === 'cuda-emulated';
const [operations, rounds] = emulated ? [20, 3] : [400, 200];
const device = Device.open(name);
const [a, b] = [Tensor.full(device, [16, 4096], 1, 'bf16'), Tensor.full(device, [16, 4096], 1, 'bf16')];
const chain = (): void => {
  for (let i = 0; i < operations; i += 2) {
    launch('scale', [a, b], [0.5]);
    launch('scale', [b, a], [2]);
  }
};
const recording = device.record({}, chain);

async function median(run: () => void): Promise<number> {
  for (let round = 0; round < 3; round += 1) run();
  await device.synchronize();
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const begin = performance.now();
    run();
    await device.synchronize();
    times.push((performance.now() - begin) / 1000);
  }
  return times.sort((x, y) => x - y)[rounds >> 1]!;
}

const eager = await median(chain);
const replayed = await median(() => recording.replay());
const { graphReplays, accelerator } = device.statistics();
if (graphReplays < rounds) throw new Error(`Expected ${rounds} replays to be graphs but only ${graphReplays} were`);
console.log(JSON.stringify({ operations, rounds, eager, replayed, hardware: accelerator?.description ?? name }));
recording.dispose();
for (const tensor of [a, b]) tensor.dispose();
await device.close();
