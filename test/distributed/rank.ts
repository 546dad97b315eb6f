// One rank of the all-reduce test: sums its vector with the others', several times, and reports what it got.
import { parentPort, workerData } from 'node:worker_threads';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

const { group, rank, size, length, rounds, leaveAfter, emulated } = workerData as Record<string, number> & {
  group: string;
};
const device = Device.open(emulated ? 'cuda-emulated' : 'cpu', { threads: 2 });
const communicator = new Communicator(device, group, rank!, size!);
try {
  const results: number[][] = [];
  for (let round = 0; round < rounds!; round += 1) {
    if (round === leaveAfter) break;
    using x = Tensor.from(
      device,
      Float32Array.from({ length: length! }, (_, index) => Math.fround((rank! + 1) * 0.1 + index + round)),
    );
    communicator.allReduce(x);
    results.push([...(await x.readFloats())]);
  }
  parentPort!.postMessage({ rank, results, live: device.statistics().liveTensors });
} catch (error) {
  parentPort!.postMessage({ rank, error: (error as Error).message });
}
await device.close();
