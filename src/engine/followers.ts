/**
 * The other ranks of a tensor-parallel group, a worker thread and a device each: they hold their parts of the model and of the KV cache,
 * and compute what the leading rank tells them to. That one alone schedules, reads results and does I/O.
 */
import { Worker } from 'node:worker_threads';
import { isRankFailure } from '../distributed/communicator.js';
import { rankDevice } from '../distributed/mesh_shape.js';
import { workerFile } from '../distributed/worker_file.js';
import { UserError } from '../errors.js';
import type { TextOptions } from '../text/text_options.js';
import type { StepDescription } from './step_description.js';
import type { ExecutorOptions } from './step_executor.js';

/** What a rank starts from. */
export interface RankSetup {
  /** A directory, a GGUF file or a fetched name. */
  readonly model: string;
  readonly text: TextOptions;
  /** A folder in PEFT's layout. */
  readonly adapter?: string | undefined;
  readonly device: string;
  readonly dtype?: 'f32' | 'bf16' | undefined;
  /** CPU threads of this rank. */
  readonly threads: number;
  /** Name of the group, its ranks and this one's. */
  readonly group: string;
  readonly ranks: number;
  readonly rank: number;
}

export type FollowerOrder =
  | { readonly kind: 'prepare'; readonly options: ExecutorOptions }
  | { readonly kind: 'step'; readonly step: StepDescription }
  /** Gives the KV cache back. */
  | { readonly kind: 'release' }
  | { readonly kind: 'close' };

export type FollowerNews =
  | { readonly kind: 'ready' }
  | { readonly kind: 'released' }
  | {
      readonly kind: 'failed';
      readonly message: string;
      readonly user: boolean;
      /** Whether it fails because another rank has. */
      readonly consequence: boolean;
    };

interface Follower {
  readonly worker: Worker;
  readonly exited: Promise<unknown>;
  ready: boolean;
  /** Resolves the wait for its KV cache to be released. */
  released: (() => void) | null;
}

/** How long a rank that fails may take to say why, once another one has noticed. */
const graceMilliseconds = 2000;

interface Failure {
  readonly error: Error;
  readonly consequence: boolean;
}

export class Followers {
  private readonly followers: readonly Follower[];
  private readonly failures: Failure[] = [];
  /** Called when one of them is ready or has failed. */
  private readonly listeners = new Set<() => void>();
  private closing = false;

  /** @param setup of the leading rank, rank 0: the others have the devices after its own. */
  constructor(setup: RankSetup) {
    this.followers = Array.from({ length: setup.ranks - 1 }, (_, index) =>
      this.start({ ...setup, rank: index + 1, device: rankDevice(setup.device, index + 1) }),
    );
  }

  /** Resolves when all of them have loaded their parts. @throws what keeps one from it, naming it. */
  async ready(): Promise<void> {
    await this.until(() => this.failures.length > 0 || this.followers.every(({ ready }) => ready));
    if (this.failures.length > 0) throw await this.cause();
  }

  /** Has them take memory for keys and values. */
  prepare(options: ExecutorOptions): void {
    this.tell({ kind: 'prepare', options });
  }

  step(step: StepDescription): void {
    this.tell({ kind: 'step', step: compact(step) });
  }

  /** What `work` of the leading rank gives; where a rank fails, what failed, naming it. */
  async unlessFailed<T>(work: Promise<T>): Promise<T> {
    let done = false;
    const settled = work.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    );
    const outcome = settled.finally(() => {
      done = true;
      this.wake();
    });
    await this.until(() => done || this.failures.length > 0);
    if (done) {
      const result = await outcome;
      if ('value' in result) return result.value;
      if (!isRankFailure(result.error)) throw result.error;
      throw (await this.cause()) ?? result.error;
    }
    throw await this.cause();
  }

  /** Has them give their KV caches back. */
  async release(): Promise<void> {
    await Promise.all(
      this.followers.map(async (follower) => {
        const released = new Promise<void>((resolve) => {
          follower.released = resolve;
        });
        follower.worker.postMessage({ kind: 'release' } satisfies FollowerOrder);
        await Promise.race([released, follower.exited]);
      }),
    );
  }

  async close(): Promise<void> {
    this.closing = true;
    this.tell({ kind: 'close' });
    await Promise.all(this.followers.map(({ exited }) => exited));
  }

  private tell(order: FollowerOrder): void {
    for (const { worker } of this.followers) worker.postMessage(order);
  }

  private start(setup: RankSetup): Follower {
    const worker = new Worker(workerFile('src/distributed/follower_worker'), { workerData: setup });
    const follower: Follower = {
      ...{ worker, ready: false, released: null },
      exited: new Promise((resolve) => worker.once('exit', resolve)),
    };
    const failed = (message: string, user = false, consequence = false): void => {
      if (this.closing) return;
      const text = `Rank ${setup.rank} (${setup.device}): ${message}`;
      this.failures.push({ error: user ? new UserError(text) : new Error(text), consequence });
      this.wake();
    };
    worker.on('message', (news: FollowerNews) => {
      if (news.kind === 'failed') failed(news.message, news.user, news.consequence);
      if (news.kind === 'released') follower.released?.();
      if (news.kind === 'ready') {
        follower.ready = true;
        this.wake();
      }
    });
    worker.on('error', (error) => failed(error.message));
    worker.on('exit', (code) => failed(`its thread ended with code ${code}`));
    return follower;
  }

  /** The failure that the others follow from, as soon as it is known, or after a while whatever there is. */
  private async cause(): Promise<Error | undefined> {
    const found = (): Failure | undefined => this.failures.find(({ consequence }) => !consequence);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.wake();
    }, graceMilliseconds);
    await this.until(() => late || found() !== undefined);
    clearTimeout(timer);
    return (found() ?? this.failures[0])?.error;
  }

  private until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!condition()) return;
        this.listeners.delete(check);
        resolve();
      };
      this.listeners.add(check);
      check();
    });
  }

  private wake(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

/** Without the rest of the buffers that its arrays are views of, which would be sent with them. */
function compact<T>(value: T): T {
  if (value instanceof Int32Array || value instanceof Float32Array) return value.slice() as T;
  if (Array.isArray(value)) return value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, compact(each)])) as T;
}
