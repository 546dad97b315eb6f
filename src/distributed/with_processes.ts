/** The frame of work that processes of a run do together: they meet before it, and whatever ends one of them ends all. */
import { UserError } from '../errors.js';
import { buildFingerprint } from './build_fingerprint.js';
import { isRankFailure } from './communicator.js';
import { type MeshShape, meshSize } from './mesh_shape.js';
import { readProcessEnvironment } from './process_environment.js';
import { ProcessGroup } from './process_group.js';

/** How long the reason may take that another process has ended, after what follows from that. */
const reasonMilliseconds = 10_000;

/** Ranks of a mesh that are those of one process: every process has as many, and whole tensor-parallel groups. */
export interface LocalRanks {
  readonly first: number;
  readonly count: number;
}

/** @throws {UserError} where the mesh cannot be divided so */
export function localRanks(
  mesh: MeshShape,
  processes: { readonly rank: number; readonly size: number } | null,
): LocalRanks {
  const { rank, size } = processes ?? { rank: 0, size: 1 };
  if (mesh.dp % size !== 0)
    throw new UserError(
      `Expected the mesh to have a multiple of WORLD_SIZE (${size} processes) as 'dp' but received ${mesh.dp}; a process has one or more whole replicas`,
    );
  const count = meshSize(mesh) / size;
  return { first: rank * count, count };
}

/**
 * Runs `work` with the processes that a launcher has started; null where there is only this one.
 * @throws in every process what one of them failed with
 */
export async function withProcesses<T>(
  mesh: MeshShape,
  work: (processes: ProcessGroup | null) => Promise<T>,
): Promise<T> {
  const environment = readProcessEnvironment();
  if (environment === null) return work(null);
  const facts = { build: buildFingerprint(), mesh: `dp=${mesh.dp},tp=${mesh.tp}` };
  const processes = await ProcessGroup.join(environment, { facts, ranks: localRanks(mesh, environment) });
  try {
    return await work(processes);
  } catch (error) {
    if (isRankFailure(error)) await reason(processes);
    if (processes.failure === null) processes.fail((error as Error).message);
    throw processes.failure ?? error;
  } finally {
    await processes.leave();
  }
}

/** Waits for what the failure of a collective followed from. */
async function reason(processes: ProcessGroup): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, reasonMilliseconds);
  });
  await processes.unlessFailed(late).catch(() => {});
  clearTimeout(timer);
}
