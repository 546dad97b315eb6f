/** The frame of work that processes of a run do together: they meet before it, and whatever ends one of them ends all. */
import { UserError } from '../errors.js';
import { Device } from '../tensor/device.js';
import { buildFingerprint, packageVersion } from './build_fingerprint.js';
import { isRankFailure } from './communicator.js';
import type { Facts } from './control.js';
import { type MeshShape, meshSize } from './mesh_shape.js';
import { readProcessEnvironment } from './process_environment.js';
import { ProcessGroup } from './process_group.js';
import { LeadingProcess, serve, type Tasks } from './run_threads.js';

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
      `Expected the mesh to have a multiple of WORLD_SIZE (${size} processes) as 'dp' but received dp=${mesh.dp},tp=${mesh.tp}; a process has one or more whole replicas, so 'tp' counts devices of one process`,
    );
  const count = meshSize(mesh) / size;
  return { first: rank * count, count };
}

/** What must be alike on all processes, so that they compute the same. */
async function factsOf(mesh: MeshShape, device: string): Promise<Facts> {
  const facts = { version: packageVersion(), build: buildFingerprint(), mesh: `dp=${mesh.dp},tp=${mesh.tp}` };
  if (!device.startsWith('cpu')) return facts;
  const opened = Device.open(device, { threads: 1 });
  const { instructionSet } = opened.statistics();
  await opened.close();
  return { ...facts, 'instruction set': instructionSet };
}

/**
 * Runs `work` with the processes that a launcher has started; null where there is only this one.
 * @throws in every process what one of them failed with
 */
export async function withProcesses<T>(
  mesh: MeshShape,
  device: string,
  work: (processes: ProcessGroup | null) => Promise<T>,
): Promise<T> {
  const environment = readProcessEnvironment();
  if (environment === null) return work(null);
  const ranks = localRanks(mesh, environment);
  const processes = await ProcessGroup.join(environment, { facts: await factsOf(mesh, device), ranks });
  try {
    const result = await work(processes);
    if (processes.failure !== null) throw processes.failure; // what there was is done with
    return result;
  } catch (error) {
    if (isRankFailure(error)) await reason(processes);
    if (processes.failure === null) processes.fail((error as Error).message);
    throw processes.failure ?? error;
  } finally {
    await processes.leave();
  }
}

/**
 * Runs `work` in the process that leads, while the others serve it with threads and `tasks`; in those null comes back.
 * @throws as {@link withProcesses} does
 */
export function withLeader<T>(
  mesh: MeshShape,
  device: string,
  work: (leader: LeadingProcess | null) => Promise<T>,
  tasks: (processes: ProcessGroup) => Tasks = () => ({}),
): Promise<T | null> {
  return withProcesses(mesh, device, async (processes) => {
    if (processes === null) return work(null);
    if (processes.rank > 0) {
      await serve(processes, localRanks(mesh, processes).count, tasks(processes));
      return null;
    }
    const leader = new LeadingProcess(processes);
    const result = await work(leader);
    leader.finish();
    return result;
  });
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
