/** An id outside the table is a failure when the operation runs, and shows when what it wrote is read. */
import { expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';

it.each([
  ['-3', -3],
  ['7', 7],
])('fails at run time for id %s, forwards and backwards', async (text, id) => {
  const device = Device.open('cpu', { threads: 1 });
  {
    using table = Tensor.zeros(device, [7, 3]);
    using ids = Tensor.from(device, Int32Array.of(0, 6, id));
    using y = Tensor.empty(device, [3, 3]);
    launch('embedding', [table, ids, y]);
    await expect(y.read()).rejects.toThrow(`Expected 'ids' to be in [-2, 7) but received ${text} at index 2`);
    using dy = Tensor.zeros(device, [3, 3]);
    launch('embedding_backward', [ids, dy, table]);
    await expect(table.read()).rejects.toThrow(`Expected 'ids' to be in [-2, 7) but received ${text} at index 2`);
  }
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
});
