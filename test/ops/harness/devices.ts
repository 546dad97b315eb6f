import { native } from '../../../src/native.js';
import { Device } from '../../../src/tensor/device.js';

const cuda = (() => {
  try {
    void Device.open('cuda:0').close();
    return ['cuda:0'];
  } catch (error) {
    console.log(`Operations are not tested on CUDA: ${(error as Error).message}`);
    return [];
  }
})();

/** Every device that is present, and those for tests. */
export const deviceNames = ['cpu', 'cpu-chaos', 'cuda-emulated', ...cuda];

/** What a device has of the operations: a back end that is being written can lack some. */
export const implemented = (device: string): Set<string> =>
  new Set(
    native
      .listOps(device.startsWith('cpu') ? 'cpu' : device.startsWith('cuda:') ? 'cuda' : 'cuda-emulated')
      .filter((contract) => contract.implemented)
      .map(({ name }) => name),
  );
