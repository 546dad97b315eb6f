/** The processes of a run that was started by a launcher: who they are, what they tell each other, and that one of them has ended. */
import { Worker } from 'node:worker_threads';
import { UserError } from '../errors.js';
import type { ControlNews, ControlOrder, ControlSetup, Facts } from './control.js';
import type { ProcessEnvironment } from './process_environment.js';
import { workerFile } from './worker_file.js';

/** How long a machine may be silent before it counts as dead: everybody knows within 10 s. */
const silenceSeconds = 8;

export interface ProcessGroupOptions {
  /** What must be alike on all processes. */
  readonly facts: Facts;
  /** World ranks of this process, for messages. Default: none are named. */
  readonly ranks?: { readonly first: number; readonly count: number };
  /** Default: 8. */
  readonly silenceSeconds?: number;
}

export class ProcessGroup {
  readonly rank: number;
  readonly size: number;
  /** Which process of its machine this is. */
  readonly localRank: number;
  /** The same on all processes, and another one for every run. */
  name = '';
  /** Why the run cannot go on, once it cannot. */
  failure: UserError | null = null;
  private readonly worker: Worker;
  private readonly ended: Promise<unknown>;
  private readonly listeners = new Set<(process: number, message: unknown) => void>();
  /** Messages that came before anybody listened. */
  private readonly unheard: [process: number, message: unknown][] = [];
  private readonly failed = new Set<(error: UserError) => void>();
  private readonly gathering = new Map<number, (values: unknown[]) => void>();
  private rounds = 0;
  private groups = 0;
  private left = false;

  /**
   * Meets the other processes at process 0's address.
   *
   * @throws {UserError} the same line on every process: one has not come, two have one RANK, sizes or facts differ
   */
  static async join(environment: ProcessEnvironment, options: ProcessGroupOptions): Promise<ProcessGroup> {
    const { facts, ranks } = options;
    const named = ranks === undefined ? '' : nameRanks(ranks.first, ranks.count);
    const silence = options.silenceSeconds ?? silenceSeconds;
    const group = new ProcessGroup({ ...environment, facts, ranks: named, silenceSeconds: silence });
    try {
      await new Promise<void>((resolve, reject) => {
        group.failed.add(reject);
        group.worker.on('message', (news: ControlNews) => {
          if (news.kind === 'joined') resolve();
        });
      });
    } catch (error) {
      await group.leave();
      throw error;
    }
    group.failed.clear();
    return group;
  }

  private constructor(setup: ControlSetup) {
    this.rank = setup.rank;
    this.size = setup.size;
    this.localRank = setup.localRank;
    this.worker = new Worker(workerFile('src/distributed/control_worker'), { workerData: setup });
    this.ended = new Promise((resolve) => this.worker.once('exit', resolve));
    this.worker.on('message', (news: ControlNews) => this.hear(news));
    this.worker.on('error', (error) =>
      this.end(`the control thread of process ${this.rank} has failed: ${error.message}`),
    );
  }

  /** A name for communicators of the run, the same on all processes that have asked as often. */
  nextGroup(): string {
    return `${this.name}-${++this.groups}`;
  }

  /** What every process gives, in their order. All processes call it, as often as each other. */
  async gather<T>(value: T): Promise<T[]> {
    const round = this.rounds++;
    const values = new Promise<unknown[]>((resolve) => this.gathering.set(round, resolve));
    this.order({ kind: 'gather', round, value });
    return (await this.unlessFailed(values)) as T[];
  }

  /** To a process, over process 0: only it reaches all, and the others reach it. */
  send(process: number, message: unknown): void {
    this.order({ kind: 'message', process, message });
  }

  /** @returns a function that ends it */
  onMessage(listener: (process: number, message: unknown) => void): () => void {
    this.listeners.add(listener);
    for (const [process, message] of this.unheard.splice(0)) listener(process, message);
    return () => this.listeners.delete(listener);
  }

  /** Called once, when the run cannot go on, or at once where it cannot any more. */
  onFailure(listener: (error: UserError) => void): void {
    if (this.failure === null) this.failed.add(listener);
    else listener(this.failure);
  }

  /** Ends the run on all processes for a reason that names who failed. */
  fail(why: string): void {
    this.order({ kind: 'fail', why });
  }

  /** What `work` gives, unless the run fails before: then that. */
  async unlessFailed<T>(work: Promise<T>): Promise<T> {
    let listener: ((error: UserError) => void) | null = null;
    const failure = new Promise<never>((_, reject) => {
      listener = reject;
      this.failed.add(reject);
    });
    try {
      if (this.failure !== null) throw this.failure;
      return await Promise.race([work, failure]);
    } finally {
      this.failed.delete(listener!);
    }
  }

  /** Says goodbye and resolves when the others know, and in process 0 when they have gone too. */
  async leave(): Promise<void> {
    if (!this.left) this.order({ kind: 'leave' });
    this.left = true;
    await this.ended;
  }

  private order(order: ControlOrder): void {
    this.worker.postMessage(order);
  }

  private hear(news: ControlNews): void {
    if (news.kind === 'joined') this.name = `run-${news.token}`;
    else if (news.kind === 'failed') this.end(news.why);
    else if (news.kind === 'message') {
      if (this.listeners.size === 0) this.unheard.push([news.process, news.message]);
      for (const listener of this.listeners) listener(news.process, news.message);
    } else {
      this.gathering.get(news.round)?.(news.values);
      this.gathering.delete(news.round);
    }
  }

  private end(why: string): void {
    this.failure ??= new UserError(why);
    const listeners = [...this.failed];
    this.failed.clear();
    for (const listener of listeners) listener(this.failure);
  }
}

/** `rank 2`, `ranks 2 and 3`, `ranks 4 to 7` */
export function nameRanks(first: number, count: number): string {
  if (count === 1) return `rank ${first}`;
  return `ranks ${first} ${count === 2 ? 'and' : 'to'} ${first + count - 1}`;
}
