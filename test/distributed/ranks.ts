// Several ranks in one thread: collectives block the devices' own threads, never this one.
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';

export interface Rank {
  readonly device: Device;
  /** Null for a group of one. */
  readonly group: Communicator | null;
  readonly rank: number;
}

let groups = 0;

/** Gives `work` as many ranks on devices of their own, and closes these after it: nothing is left on them. */
export async function withRanks<R>(
  size: number,
  work: (ranks: readonly Rank[]) => Promise<R>,
  deviceName = 'cpu',
): Promise<R> {
  const name = `ranks-${process.pid}-${++groups}`;
  const devices = Array.from({ length: size }, () => Device.open(deviceName, { threads: 1 }));
  try {
    const result = await work(
      devices.map((device, rank) => ({
        device,
        rank,
        group: size > 1 ? new Communicator(device, name, rank, size) : null,
      })),
    );
    for (const device of devices) {
      await device.synchronize();
      const { liveTensors } = device.statistics();
      if (liveTensors > 0) throw new Error(`${liveTensors} tensors are left on a rank of ${size}`);
    }
    return result;
  } finally {
    await Promise.all(devices.map((device) => device.close()));
  }
}
