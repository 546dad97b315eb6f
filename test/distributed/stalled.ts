// A rank with far more enqueued behind a collective than may be launched at once, which no other rank comes to.
import { parentPort, threadId, workerData } from 'node:worker_threads';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

const device = Device.open(workerData as string, { threads: 1 });
Tensor.full(device, [1 << 22], 1); // what is enqueued meanwhile is taken up at once
const x = Tensor.from(device, [1, 2]);
new Communicator(device, `stalled-${threadId}`, 0, 2).allReduce(x);
for (let count = 0; count < 2000; count += 1) launch('fill', [x], [count]);
parentPort!.postMessage('enqueued');
setInterval(() => {}, 1000); // until it is terminated
