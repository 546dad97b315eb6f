/** What the processes of a study do together with the one that leads, beside the threads that it has in them. */
import type { ProcessGroup } from '../distributed/process_group.js';
import type { Tasks } from '../distributed/run_threads.js';
import type { TrainConfig } from '../training/config.js';

/** The task of the stage `train`. */
export const trainTask = 'train';

export function studyTasks(processes: ProcessGroup): Tasks {
  return {
    async [trainTask](settings: TrainConfig) {
      const { StoppedByFirst, train } = await import('../training/train.js');
      await train(settings, { processes }).catch((error: unknown) => {
        if (!(error instanceof StoppedByFirst)) throw error;
      });
    },
  };
}
