/** Whether processes that train together begin with the same weights: a mistake here would train a model that nobody has. */
import { UserError } from '../errors.js';
import { hashFiles } from '../weights/fingerprint.js';
import type { ProcessGroup } from './process_group.js';

/**
 * Collective. Compares every byte of some files; the ranks of one process read the same ones.
 * @throws {UserError} on every process, naming the first one whose files differ from those of process 0
 */
export async function expectSameWeights(processes: ProcessGroup, paths: readonly string[]): Promise<void> {
  const hashes = await processes.gather(await hashFiles(paths));
  const other = hashes.findIndex((hash) => hash !== hashes[0]);
  if (other < 0) return;
  throw new UserError(
    `Expected the same weights in every process but those of process ${other} are not those of process 0; copy the model's files to all machines again`,
  );
}
