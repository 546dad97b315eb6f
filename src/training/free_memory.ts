import { rankDevice } from '../distributed/mesh_shape.js';
import { Device } from '../tensor/device.js';

/** Bytes that a run on this many ranks can take, all together: what the process may on the CPU, what is free on GPUs. */
export async function freeMemory(device: string, ranks: number): Promise<number> {
  if (!device.startsWith('cuda')) return process.availableMemory();
  let bytes = 0;
  for (let rank = 0; rank < ranks; rank += 1) {
    const opened = Device.open(rankDevice(device, rank), { threads: 1 });
    bytes += opened.statistics().accelerator!.freeBytes;
    await opened.close();
  }
  return bytes;
}
