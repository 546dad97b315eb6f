// Data parallelism in one process: the calling thread is rank 0, every other rank a worker thread with a device and a copy of
// the model of its own. Gradients meet in the communicator; windows and weights are the same on all ranks.

import { Worker } from 'node:worker_threads';
import { isRankFailure } from '../distributed/communicator.js';
import { workerFile } from '../distributed/worker_file.js';
import { UserError } from '../errors.js';
import { type RankDuties, type RankSetup, trainRank } from './rank.js';
import type { RankMessage } from './rank_worker.js';

/** How long the others may take to notice that a rank failed, before their threads are ended. */
const graceMilliseconds = 5000;

let groups = 0;

/**
 * Trains on `ranks` ranks. @returns whether the run was finished
 * @throws the error of the rank that failed first for a reason of its own
 */
export async function trainDataParallel(
  setup: Omit<RankSetup, 'rank' | 'group'>,
  duties: RankDuties,
): Promise<boolean> {
  const group = `training-${process.pid}-${++groups}`;
  const workers = Array.from({ length: setup.ranks - 1 }, (_, index) =>
    startRank({ ...setup, group, rank: index + 1 }),
  );
  const errors: Error[] = [];
  let ending = false; // from then on ranks end because they are told to, which is no error of theirs
  const settle = (promise: Promise<unknown>) =>
    promise.then(undefined, (error: Error) => {
      if (!ending) errors.push(error);
    });
  const endWorkers = () => Promise.all(workers.map(({ worker }) => worker.terminate()));
  try {
    const own = trainRank({ ...setup, group, rank: 0 }, duties);
    const others = workers.map(({ done }) => settle(done));
    await Promise.race([settle(own), ...others]);
    if (errors.length > 0) {
      // A rank that fails leaves the group, at which the collectives of the others fail. One that does not get that far is ended.
      await Promise.race([
        Promise.all(others),
        new Promise((resolve) => setTimeout(resolve, graceMilliseconds).unref()),
      ]);
      ending = true;
      await endWorkers();
    }
    const finished = await own.catch((error: Error) => {
      // What rank 0 has to say for itself counts most, but not that a collective failed because another rank had left.
      throw error instanceof UserError ? error : cause(errors);
    });
    await Promise.all(others);
    if (errors.length > 0) throw cause(errors);
    return finished;
  } finally {
    await endWorkers();
  }
}

/** The error that the others follow from. */
function cause(errors: readonly Error[]): Error {
  const isCause = (error: Error) => !isRankFailure(error);
  return errors.find((error) => error instanceof UserError) ?? errors.find(isCause) ?? errors[0]!;
}

function startRank(setup: RankSetup): { worker: Worker; done: Promise<void> } {
  const worker = new Worker(workerFile('src/training/rank_worker'), { workerData: setup });
  const done = new Promise<void>((resolve, reject) => {
    worker.once('message', (message: RankMessage) => {
      if (message.ok) resolve();
      else reject(message.user ? new UserError(message.message) : new Error(`Rank ${setup.rank}: ${message.message}`));
    });
    worker.once('error', reject);
    worker.once('exit', (code) =>
      reject(
        new UserError(
          `Rank ${setup.rank} ended early with code ${code}; the same command goes on from the last checkpoint`,
        ),
      ),
    );
  });
  return { worker, done };
}
