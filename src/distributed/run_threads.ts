/** Worker threads of a run, in the process that leads it and in the others, which look the same to whoever starts them. */
import { Worker } from 'node:worker_threads';
import { rankDevice } from './mesh_shape.js';
import type { ProcessGroup } from './process_group.js';
import { workerFile } from './worker_file.js';

/** What every thread starts from. Beyond the device, what its file expects. */
export interface ThreadSetup {
  /** In another process: counted from the first of its devices. */
  readonly device: string;
}

export interface ThreadEvents {
  message(message: unknown): void;
  /** Nothing more comes of it; may be said more than once. */
  ended(why: string): void;
}

export interface RunThread {
  /** @throws for what cannot be sent to another thread */
  send(message: unknown): void;
  terminate(): void;
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
}

/** Starts a thread in this process. @param source as {@link workerFile} takes it */
export function startThread(source: string, setup: ThreadSetup, events: ThreadEvents): RunThread {
  const worker = new Worker(workerFile(source), { workerData: setup });
  worker.on('message', (message) => events.message(message));
  worker.on('error', (error) => events.ended(error.message));
  const ended = new Promise<void>((resolve) => {
    worker.once('exit', (code) => {
      events.ended(`its thread ended with code ${code}`);
      resolve();
    });
  });
  return { send: (message) => worker.postMessage(message), terminate: () => void worker.terminate(), ended };
}

/** From the process that leads. */
type Order =
  | { readonly kind: 'start'; readonly thread: number; readonly source: string; readonly setup: ThreadSetup }
  | { readonly kind: 'send'; readonly thread: number; readonly message: unknown }
  | { readonly kind: 'terminate'; readonly thread: number }
  | { readonly kind: 'task'; readonly name: string; readonly argument: unknown }
  | { readonly kind: 'finish' };

/** What becomes of a thread of another process. */
type News =
  | { readonly kind: 'message'; readonly thread: number; readonly message: unknown }
  | { readonly kind: 'ended'; readonly thread: number; readonly why: string };

interface Remote {
  readonly events: ThreadEvents;
  readonly over: () => void;
}

/** Process 0 of a run, which alone decides, reads and writes: it has threads in the others, and gives them tasks. */
export class LeadingProcess {
  readonly group: ProcessGroup;
  /** Aborted when the run cannot go on, whatever this process is at. */
  readonly signal: AbortSignal;
  private readonly threads = new Map<number, Remote>();
  private started = 0;

  constructor(group: ProcessGroup) {
    const controller = new AbortController();
    this.group = group;
    this.signal = controller.signal;
    group.onMessage((_, message) => this.hear(message as News));
    group.onFailure((error) => {
      controller.abort(error);
      for (const thread of [...this.threads.keys()]) this.end(thread, error.message);
    });
  }

  /** Starts a thread in another process. */
  start(process: number, source: string, setup: ThreadSetup, events: ThreadEvents): RunThread {
    const { group } = this;
    const thread = this.started++;
    const send = (order: Order): void => group.send(process, order);
    const ended = new Promise<void>((over) => this.threads.set(thread, { events, over }));
    if (group.failure === null) send({ kind: 'start', thread, source, setup });
    else setImmediate(() => this.end(thread, group.failure!.message));
    return {
      send: (message) => send({ kind: 'send', thread, message }),
      terminate: () => send({ kind: 'terminate', thread }),
      ended,
    };
  }

  /** Has all others do what they know by this name; where one cannot, the run ends with its reason. */
  task(name: string, argument: unknown): void {
    this.toAll({ kind: 'task', name, argument });
  }

  /** Lets the others go. */
  finish(): void {
    this.toAll({ kind: 'finish' });
  }

  private toAll(order: Order): void {
    for (let process = 1; process < this.group.size; process += 1) this.group.send(process, order);
  }

  private hear(news: News): void {
    if (news.kind === 'ended') this.end(news.thread, news.why);
    else this.threads.get(news.thread)?.events.message(news.message);
  }

  private end(thread: number, why: string): void {
    const remote = this.threads.get(thread);
    this.threads.delete(thread);
    remote?.events.ended(why);
    remote?.over();
  }
}

/** What a process can be given to do as a whole, by name. */
export type Tasks = Readonly<Record<string, (argument: never) => Promise<void>>>;

/**
 * What the other processes do: run the threads and tasks that process 0 wants, until it is through.
 * @param devices of this process
 * @throws {UserError} when the run cannot go on; what a task failed with
 */
export async function serve(group: ProcessGroup, devices: number, tasks: Tasks): Promise<void> {
  const threads = new Map<number, RunThread>();
  const tell = (news: News): void => group.send(0, news);
  const start = (thread: number, source: string, setup: ThreadSetup): RunThread => {
    const device = rankDevice(setup.device, group.localRank * devices);
    return startThread(
      source,
      { ...setup, device },
      {
        message: (message) => tell({ kind: 'message', thread, message }),
        ended: (why) => tell({ kind: 'ended', thread, why }),
      },
    );
  };
  let ignore = (): void => {};
  const finished = new Promise<void>((resolve, reject) => {
    ignore = group.onMessage((_, message) => {
      const order = message as Order;
      if (order.kind === 'start') threads.set(order.thread, start(order.thread, order.source, order.setup));
      else if (order.kind === 'send') threads.get(order.thread)?.send(order.message);
      else if (order.kind === 'terminate') threads.get(order.thread)?.terminate();
      else if (order.kind === 'task') tasks[order.name]!(order.argument as never).catch(reject);
      else resolve();
    });
  });
  try {
    await group.unlessFailed(finished);
  } finally {
    ignore();
    for (const thread of threads.values()) thread.terminate();
    await Promise.all([...threads.values()].map(({ ended }) => ended));
  }
}
