import { native } from '../../../src/native.js';
import type { Device } from '../../../src/tensor/device.js';

let communicators = 0;

/** The attribute of a collective: a group of one rank. What several ranks do is tested with several threads, in test/distributed. */
export function alone(device: Device): { communicator: number } {
  communicators += 1;
  const name = `ops-${process.pid}-${communicators}`;
  return { communicator: native.joinCommunicator(device.id, name, 0, 1, 600, 30, []) };
}
