/** Whether ranks that train together begin with the same weights: a mistake here would train a model that nobody has. */
import { createHash } from 'node:crypto';
import { UserError } from '../errors.js';
import { Tensor } from '../tensor/tensor.js';
import type { Communicator } from './communicator.js';

/**
 * Compares the names and the first row of every weight, as the devices have them.
 * @throws {UserError} on every rank, naming the first one that differs from rank 0
 */
export async function expectSameWeights(
  weights: ReadonlyMap<string, Tensor>,
  communicator: Communicator,
): Promise<void> {
  const hash = createHash('sha256');
  for (const [name, weight] of weights) {
    using row = weight.narrow(0, 0, 1);
    hash.update(name).update(await row.readBytes());
  }
  using own = Tensor.from(communicator.device, Int32Array.of(hash.digest().readInt32LE()));
  using all = communicator.allGather(own);
  const sums = (await all.read()) as Int32Array;
  const other = sums.findIndex((sum) => sum !== sums[0]);
  if (other < 0) return;
  throw new UserError(
    `Expected the same weights on every rank but rank ${other} has others than rank 0; see that all machines have the same model files and the same build`,
  );
}
