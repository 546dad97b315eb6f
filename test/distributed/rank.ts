// One rank of the collectives' tests: runs its part of a scenario and reports what it got.
import { parentPort, workerData } from 'node:worker_threads';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { operand } from './operands.js';

const {
  group,
  rank,
  size,
  length,
  rounds,
  leaveAfter,
  device: name,
  bf16,
  processOf,
  dieAfter,
} = workerData as Record<string, number> & {
  group: string;
  device: string;
  processOf?: number[];
};
const device = Device.open(name, { threads: 2 });
const communicator = new Communicator(device, group, rank!, size!, processOf ? { processOf } : {});
try {
  const results: number[][] = [];
  for (let round = 0; round < rounds!; round += 1) {
    if (round === leaveAfter) break;
    if (round === dieAfter) process.kill(process.pid, 'SIGKILL');
    const dtype = bf16 ? 'bf16' : 'f32';
    using part = Tensor.from(device, operand(rank!, round, length!), [length!], dtype);
    using whole = Tensor.from(device, operand(rank!, round, length! * size!), [length! * size!], dtype);
    using sum = Tensor.from(device, operand(rank!, round, length!), [length!], dtype);
    using sent = Tensor.from(device, operand(rank!, round, length!), [length!], dtype);
    communicator.allReduce(sum);
    using gathered = communicator.allGather(part);
    using scattered = communicator.reduceScatter(whole);
    communicator.broadcast(sent, round % size!);
    const all = [sum, gathered, scattered, sent].map((tensor) => tensor.readFloats());
    for (const values of await Promise.all(all)) results.push([...values]);
  }
  parentPort!.postMessage({ rank, results, live: device.statistics().liveTensors });
} catch (error) {
  parentPort!.postMessage({ rank, error: (error as Error).message });
}
await device.close();
