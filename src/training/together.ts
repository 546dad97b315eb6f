import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * Collective: does this rank's part of `work`, then waits until every rank has done its own.
 * @param what for the message: what a rank could not do
 * @throws this rank's own error; {@link UserError} naming the first other rank that failed
 */
export async function together<R>(communicator: Communicator, what: string, work: () => Promise<R>): Promise<R> {
  const { device, rank, size } = communicator;
  const [outcome] = await Promise.allSettled([work()]);
  const failed = outcome.status === 'rejected';
  using failures = Tensor.from(
    device,
    Array.from({ length: size }, (_, index) => (failed && index === rank ? 1 : 0)),
  );
  communicator.allReduce(failures);
  const first = (await failures.readFloats()).indexOf(1);
  if (failed) throw outcome.reason;
  if (first >= 0) throw new UserError(`Rank ${first} could not ${what}; its own message says why`);
  return outcome.value;
}
