// Two ranks of one process, on the devices that are named, of which the second comes when it is told to, so often.
import { once } from 'node:events';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

const devices = process.argv.slice(2, 4).map((name) => Device.open(name, { threads: 1 }));
const sums = devices.map((device, rank) => {
  const communicator = new Communicator(device, 'late', rank, 2, { warnAfterSeconds: 0.2 });
  const x = Tensor.from(device, [rank + 1]);
  return () => {
    communicator.allReduce(x);
    return x.readFloats();
  };
});
for (let round = 0; round < Number(process.argv[4]); round += 1) {
  const first = sums[0]!();
  await once(process.stdin, 'data');
  console.log(...(await Promise.all([first, sums[1]!()])).map(([sum]) => sum));
}
process.stdin.destroy();
for (const device of devices) await device.close();
