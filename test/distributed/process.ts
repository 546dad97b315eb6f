// One process of the tests across processes: meets the others as a launcher's variables say, then does what `WORK` holds.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { readProcessEnvironment } from '../../src/distributed/process_environment.js';
import { ProcessGroup } from '../../src/distributed/process_group.js';
import { workerFile } from '../../src/distributed/worker_file.js';

export interface ProcessWork {
  facts?: Record<string, string>;
  silenceSeconds?: number;
  /** Ranks of each process. */
  ranks: number;
  /** For test/distributed/rank.ts. Default: no ranks are started, and values are gathered instead. */
  scenario?: Record<string, unknown>;
  /** Stand still after the meeting. */
  after?: 'wait';
}

const work = JSON.parse(process.env.WORK!) as ProcessWork;
const { ranks, scenario, facts = {}, silenceSeconds } = work;
const say = (line: unknown): void => console.log(JSON.stringify(line));

async function rank(group: ProcessGroup, index: number): Promise<object> {
  const world = group.size * ranks;
  const worker = new Worker(workerFile('test/distributed/rank'), {
    workerData: {
      ...scenario,
      group: `${group.name}-test`,
      rank: group.rank * ranks + index,
      size: world,
      processOf: Array.from({ length: world }, (_, other) => Math.floor(other / ranks)),
    },
  });
  const exited = once(worker, 'exit');
  const [report] = await once(worker, 'message');
  await exited;
  return report as object;
}

try {
  const group = await ProcessGroup.join(readProcessEnvironment()!, {
    facts,
    ranks: { first: Number(process.env.RANK) * ranks, count: ranks },
    ...(silenceSeconds && { silenceSeconds }),
  });
  say('joined');
  const failure = (): Promise<never> => group.unlessFailed(new Promise(() => setInterval(() => {}, 1000)));
  if (work.after === 'wait') await failure();
  if (scenario === undefined) say(await group.gather({ from: group.rank, minus: Number.NEGATIVE_INFINITY }));
  else {
    const reports = await Promise.all(Array.from({ length: ranks }, (_, index) => rank(group, index)));
    say(reports);
    if (reports.some((report) => 'error' in report)) await failure(); // which may be heard of a moment later
  }
  await group.leave();
} catch (error) {
  say({ error: (error as Error).message });
  process.exit(1);
}
