/** Data-parallel generation: several whole engines, a worker thread and a device each, that share one queue of requests. */

import { type Completion, refusal } from '../engine/completion.js';
import { DEFAULT_MAX_NUM_SEQS, type EngineOptions } from '../engine/engine.js';
import { EngineStoppedError } from '../engine/errors.js';
import type { GenerateRequest } from '../engine/prompt.js';
import { RequestServer } from '../engine/request_server.js';
import type { RequestStream } from '../engine/request_stream.js';
import type { EngineStatistics } from '../engine/statistics.js';
import { UserError } from '../errors.js';
import { type MeshShape, rankDevice, rankThreads } from './mesh_shape.js';
import type { OpenEngineOptions } from './open_engine.js';
import { sumStatistics } from './replica_statistics.js';
import type { ReplicaNews, ReplicaOrder } from './replica_worker.js';
import { type LeadingProcess, type RunThread, startThread } from './run_threads.js';
import { localRanks } from './with_processes.js';

/** As of one engine, but for all replicas of a process together: `device` is the first one's, `threads` are divided evenly, `engine` is of each. */
export type ReplicasOptions = Omit<OpenEngineOptions, 'tp' | 'group'>;

/** What a replica's thread starts from. */
export type ReplicaSetup = Omit<ReplicasOptions, 'engine'> & { readonly engine: EngineOptions; readonly tp: number };

/** A request that a replica has. */
interface Task {
  readonly number: number;
  readonly stream: RequestStream<Task>;
  readonly position: number;
  readonly id: string;
  readonly replica: Replica;
  /** Samples still to come. */
  readonly left: Set<number>;
}

interface Replica {
  /** For messages: `replica 1 (cuda:1)`, `replica 4 (process 1)`. */
  readonly name: string;
  readonly thread: RunThread;
  readonly tasks: Map<number, Task>;
  /** Samples that it has and has not finished. */
  outstanding: number;
  statistics: EngineStatistics | null;
  report: string;
  /** Fingerprint of the files that it has read. */
  model: string;
  dead: boolean;
}

/**
 * An engine of several replicas. A request is given to the replica that has least to do, once it has room, so none idles while
 * another has a queue; what comes out does not depend on which one it was. A replica that dies fails the requests that it had;
 * the others finish theirs, and no more are read.
 */
export class Replicas extends RequestServer<Task> {
  protected readonly lookAhead: number;
  private readonly replicas: readonly Replica[];
  /** Samples that a replica is given at most: its seats, and a few that wait for one. */
  private readonly room: number;
  private readonly threads: number;
  private starting: { resolve(): void; reject(error: Error): void } | null = null;
  private waiting: (() => void)[] = [];
  private given = 0;
  private closing = false;

  /**
   * Starts the replicas of a mesh and resolves when all of them are ready.
   *
   * @param leader where the mesh is that of several processes; each gets its share. Default: all are in this one.
   * @throws UserError for what keeps a replica from starting, naming it.
   */
  static async create(
    mesh: MeshShape,
    options: ReplicasOptions,
    leader: LeadingProcess | null = null,
  ): Promise<Replicas> {
    const replicas = new Replicas(mesh, options, leader);
    try {
      await new Promise<void>((resolve, reject) => {
        replicas.starting = { resolve, reject };
      });
    } catch (error) {
      await replicas.close();
      throw error;
    }
    replicas.starting = null;
    return replicas;
  }

  private constructor(mesh: MeshShape, options: ReplicasOptions, leader: LeadingProcess | null) {
    super();
    const { dp: count, tp } = mesh;
    const here = localRanks(mesh, leader?.group ?? null).count / tp;
    const { maxNumSeqs = DEFAULT_MAX_NUM_SEQS, lookAhead = 4 * maxNumSeqs * count } = options.engine ?? {};
    this.lookAhead = lookAhead;
    this.room = maxNumSeqs + Math.floor(maxNumSeqs / 8);
    this.threads = rankThreads(options.threads, here);
    const shared = rankDevice(options.device, 1) === options.device;
    // Replicas that share a memory start at the same time, so each sees all of it as free.
    const engine = { ...options.engine, ...(shared && { memoryShare: 1 / here }) };
    const first = leader === null ? 0 : leader.group.localRank * here * tp;
    this.replicas = Array.from({ length: count }, (_, index) => {
      const process = Math.floor(index / here);
      const before = (index % here) * tp + (process === 0 ? first : 0);
      const setup = { ...options, device: rankDevice(options.device, before), threads: this.threads, engine, tp };
      return this.start(index, setup, process === 0 ? null : { leader: leader!, process });
    });
  }

  statistics(): EngineStatistics {
    return sumStatistics(this.statisticsOfEach());
  }

  /** Of each replica, as it last said. */
  statisticsOfEach(): EngineStatistics[] {
    return this.replicas.flatMap(({ statistics }) => statistics ?? []);
  }

  startupReport(): string {
    const { length } = this.replicas;
    const threads = `${this.threads} CPU thread${this.threads === 1 ? '' : 's'}`;
    return `${length} replicas with ${threads} each, every one as the first: ${this.replicas[0]!.report}`;
  }

  async close(): Promise<void> {
    this.stopped ??= new EngineStoppedError('The engine is closed; create another one');
    this.closing = true;
    for (const stream of this.streams) this.abort(stream);
    for (const stream of this.streams) await stream.settled();
    const end = async (replica: Replica): Promise<void> => {
      if (this.starting === null && !replica.dead) this.order(replica, { kind: 'close' });
      else replica.thread.terminate();
      await replica.thread.ended;
    };
    await Promise.all(this.replicas.map(end));
  }

  protected override abort(stream: RequestStream<Task>): void {
    super.abort(stream);
    for (const { replica, number } of stream.live) this.order(replica, { kind: 'abort', task: number });
    this.wake();
  }

  protected async feed(stream: RequestStream<Task>): Promise<void> {
    for (let next = await stream.pull(); next !== null; next = await stream.pull()) {
      const position = stream.pulled - 1;
      const replica = await this.withRoom(stream);
      if (replica === null) return;
      this.give(replica, next.request, stream, position);
    }
  }

  /** The replica with least to do, once it has room; null when the stream has been closed. */
  private async withRoom(stream: RequestStream<Task>): Promise<Replica | null> {
    while (!stream.closed) {
      const alive = this.replicas.filter(({ dead }) => !dead);
      const idlest = alive.reduce((least, replica) => (replica.outstanding < least.outstanding ? replica : least));
      if (idlest.outstanding < this.room) return idlest;
      await new Promise<void>((resolve) => this.waiting.push(resolve));
    }
    return null;
  }

  private give(replica: Replica, request: GenerateRequest, stream: RequestStream<Task>, position: number): void {
    const n = request?.sampling?.n ?? 1;
    const samples = Number.isSafeInteger(n) && n > 0 ? n : 1; // what is wrong with it the engine says, once
    const id = typeof request?.id === 'string' ? request.id : String(position);
    const left = new Set(Array.from({ length: samples }, (_, index) => index));
    const task: Task = { number: this.given++, stream, position, id, replica, left };
    stream.outstanding += samples;
    stream.live.add(task);
    replica.tasks.set(task.number, task);
    replica.outstanding += samples;
    try {
      this.order(replica, { kind: 'complete', task: task.number, request });
    } catch (error) {
      this.drop(task, (error as Error).message); // it holds something that cannot be sent, a function say
    }
  }

  private order(replica: Replica, order: ReplicaOrder): void {
    replica.thread.send(order);
  }

  private start(
    index: number,
    setup: ReplicaSetup,
    elsewhere: { leader: LeadingProcess; process: number } | null,
  ): Replica {
    const source = 'src/distributed/replica_worker';
    const events = {
      message: (news: unknown) => this.hear(replica, news as ReplicaNews),
      ended: (why: string) => this.end(replica, why, false),
    };
    const thread =
      elsewhere === null
        ? startThread(source, setup, events)
        : elsewhere.leader.start(elsewhere.process, source, setup, events);
    const replica: Replica = {
      name: `replica ${index} (${elsewhere === null ? setup.device : `process ${elsewhere.process}`})`,
      thread,
      tasks: new Map(),
      ...{ outstanding: 0, statistics: null, report: '', model: '', dead: false },
    };
    return replica;
  }

  private hear(replica: Replica, news: ReplicaNews): void {
    if (news.kind === 'failed') this.end(replica, news.message, news.user);
    if ('statistics' in news) replica.statistics = news.statistics;
    if (news.kind === 'ready') {
      Object.assign(replica, { report: news.report, model: news.model });
      if (this.replicas.every(({ report }) => report !== '')) this.startIfAlike();
    }
    if (!('task' in news)) return;
    const task = replica.tasks.get(news.task);
    if (task === undefined) return;
    if (news.kind === 'done') this.drop(task, null);
    else this.finish(task, news.completion);
    task.stream.notify();
  }

  /** Other machines may have other files of the same name. */
  private startIfAlike(): void {
    const [first] = this.replicas;
    const other = this.replicas.find(({ model }) => model !== first!.model);
    if (other === undefined) this.starting?.resolve();
    else
      this.starting?.reject(
        new UserError(
          `Expected the same model everywhere but ${other.name} has other files than ${first!.name}; copy them to all machines again`,
        ),
      );
  }

  private finish(task: Task, completion: Completion): void {
    const { stream, position, id } = task;
    if (task.left.delete(completion.index)) task.replica.outstanding--;
    else stream.outstanding++; // more than its request said
    stream.push({ position, make: () => (completion.id === id ? completion : { ...completion, id }) });
    this.wake();
  }

  /** Nothing more comes of a task; where samples are missing for a `reason`, they have failed, unless nobody wants them any more. */
  private drop(task: Task, reason: string | null): void {
    const { stream, replica, position, left, id } = task;
    for (const index of left) {
      replica.outstanding--;
      if (reason === null || stream.aborted) stream.outstanding--;
      else stream.push({ position, make: () => refusal(id, index, 0, reason) });
    }
    left.clear();
    replica.tasks.delete(task.number);
    stream.live.delete(task);
    stream.notify();
    this.wake();
  }

  private end(replica: Replica, reason: string, user: boolean): void {
    if (replica.dead || this.closing) return;
    replica.dead = true;
    const message = `${replica.name}: ${reason}`;
    if (this.starting !== null) {
      this.starting.reject(user ? new UserError(message) : new Error(message));
      return;
    }
    this.stopped ??= new EngineStoppedError(message);
    for (const task of [...replica.tasks.values()]) this.drop(task, message);
    for (const stream of this.streams) stream.close();
    this.wake();
  }

  private wake(): void {
    const waiting = this.waiting;
    this.waiting = [];
    for (const resolve of waiting) resolve();
  }
}
