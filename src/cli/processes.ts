/** Commands that a launcher may have started in several processes. */
import type { MeshShape } from '../distributed/mesh_shape.js';
import { readProcessEnvironment } from '../distributed/process_environment.js';
import type { ProcessGroup } from '../distributed/process_group.js';
import type { LeadingProcess, Tasks } from '../distributed/run_threads.js';
import { interruptible } from './interrupt.js';

/** What a command does in the process that leads, with the signal that ends it early; `leader` is null where there is one process. */
export type LeadingWork = (signal: AbortSignal, leader: LeadingProcess | null) => Promise<void>;

/**
 * Runs `work` with a signal that Ctrl-C aborts, and in several processes also that the run cannot go on. There the others serve it with
 * threads and `tasks`.
 * @param resume says in a sentence how to go on later
 */
export async function leading(
  { mesh = { dp: 1, tp: 1 }, device = 'cpu' }: { mesh?: MeshShape; device?: string },
  resume: string,
  work: LeadingWork,
  tasks?: (processes: ProcessGroup) => Tasks,
): Promise<void> {
  await interruptible(resume, async (signal) => {
    if (readProcessEnvironment() === null) return work(signal, null);
    const { withLeader } = await import('../distributed/with_processes.js');
    const lead = (leader: LeadingProcess | null): Promise<void> =>
      work(leader === null ? signal : AbortSignal.any([signal, leader.signal]), leader);
    await withLeader(mesh, device, lead, tasks);
  });
}
