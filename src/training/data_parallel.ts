// Data parallelism: the calling thread is the first rank of its process, every other one a worker thread with a device and a copy
// of the model of its own. Gradients meet in the communicator; windows and weights are the same on all ranks.

import { Worker } from 'node:worker_threads';
import { isRankFailure } from '../distributed/communicator.js';
import { Mesh } from '../distributed/mesh.js';
import { rankDevice } from '../distributed/mesh_shape.js';
import type { ProcessGroup } from '../distributed/process_group.js';
import { localRanks } from '../distributed/with_processes.js';
import { workerFile } from '../distributed/worker_file.js';
import { UserError } from '../errors.js';
import { Device } from '../tensor/device.js';
import { type RankDuties, type RankSetup, trainRank } from './rank.js';
import type { RankMessage } from './rank_worker.js';

/** How long the others may take to notice that a rank failed, before their threads are ended. */
const graceMilliseconds = 5000;

let groups = 0;

/**
 * Trains on `ranks` ranks, divided among the processes. @returns whether the run was finished
 * @param duties null in all processes but the first
 * @throws the error of the rank that failed first for a reason of its own
 */
export async function trainDataParallel(
  common: Omit<RankSetup, 'rank' | 'group' | 'device' | 'processOf'>,
  duties: RankDuties | null,
  processes: ProcessGroup | null = null,
): Promise<boolean> {
  const { mesh, device } = common.config;
  const { first, count } = localRanks(mesh, processes);
  const setup = {
    ...common,
    group: processes?.nextGroup() ?? `training-${process.pid}-${++groups}`,
    processOf: Array.from({ length: processes === null ? 0 : common.ranks }, (_, rank) => Math.floor(rank / count)),
  };
  const place = (index: number) => ({
    rank: first + index,
    device: rankDevice(device, (processes?.localRank ?? 0) * count + index),
  });
  const workers = Array.from({ length: count - 1 }, (_, index) => startRank({ ...setup, ...place(index + 1) }));
  const errors: Error[] = [];
  let ending = false; // from then on ranks end because they are told to, which is no error of theirs
  const settle = (promise: Promise<unknown>) =>
    promise.then(undefined, (error: Error) => {
      if (!ending) errors.push(error);
    });
  const endWorkers = () => Promise.all(workers.map(({ worker }) => worker.terminate()));
  try {
    const own = trainRank({ ...setup, ...place(0) }, duties);
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
      await Promise.all(workers.map(({ setup }) => leaveFor(setup)));
    }
    const finished = await own.catch((error: Error) => {
      // What this rank has to say for itself counts most, but not that a collective failed because another rank had left.
      throw error instanceof UserError ? error : cause(errors);
    });
    await Promise.all(others);
    if (errors.length > 0) throw cause(errors);
    return finished;
  } finally {
    await endWorkers();
  }
}

/** Has a rank that has ended, maybe before it joined its groups, leave them: nobody waits for it then. */
async function leaveFor({ group, rank, config, processOf }: RankSetup): Promise<void> {
  const device = Device.open('cpu', { threads: 1 });
  try {
    new Mesh(device, { group, rank, shape: config.mesh, processOf: [...processOf] }).dispose();
  } catch {
    // It had joined, and has left with its thread.
  }
  await device.close();
}

/** The error that the others follow from. */
function cause(errors: readonly Error[]): Error {
  const isCause = (error: Error) => !isRankFailure(error);
  return errors.find((error) => error instanceof UserError) ?? errors.find(isCause) ?? errors[0]!;
}

function startRank(setup: RankSetup): { setup: RankSetup; worker: Worker; done: Promise<void> } {
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
  return { setup, worker, done };
}
