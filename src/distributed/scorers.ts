/** Data-parallel scoring: a model on each of several devices, of this process and of others, which share the batches of one queue. */
import { UserError } from '../errors.js';
import { rankDevice, rankThreads } from './mesh_shape.js';
import { type LeadingProcess, type RunThread, startThread, type ThreadSetup } from './run_threads.js';
import type { ScoreLimits, ScoreNews, ScoreOrder } from './score_worker.js';
import { localRanks } from './with_processes.js';

export interface ScorersOptions extends ThreadSetup {
  /** A directory, a GGUF file or a fetched name. */
  readonly model: string;
  readonly dtype?: 'f32' | 'bf16' | undefined;
  /** CPU threads of the devices of a process together. */
  readonly threads: number;
}

export type ScorerSetup = ScorersOptions;

interface Scorer {
  readonly name: string;
  readonly thread: RunThread;
  /** Batches that it has. */
  given: number;
}

interface Waiting {
  readonly scorer: Scorer;
  resolve(scores: (number | null)[][]): void;
  reject(error: Error): void;
}

export class Scorers {
  private readonly scorers: Scorer[];
  private readonly batches = new Map<number, Waiting>();
  private readonly ready: Promise<ScoreLimits>;
  limits!: ScoreLimits;
  private failure: Error | null = null;
  private batch = 0;

  /**
   * @param model its fingerprint, which that of every device must be
   * @throws UserError for what keeps a device from starting, naming it
   */
  static async create(
    count: number,
    options: ScorersOptions,
    model: string,
    leader: LeadingProcess | null,
  ): Promise<Scorers> {
    const scorers = new Scorers(count, options, model, leader);
    try {
      scorers.limits = await scorers.ready;
    } catch (error) {
      for (const { thread } of scorers.scorers) thread.terminate();
      await Promise.all(scorers.scorers.map(({ thread }) => thread.ended));
      throw error;
    }
    return scorers;
  }

  private constructor(count: number, options: ScorersOptions, model: string, leader: LeadingProcess | null) {
    const here = localRanks({ dp: count, tp: 1 }, leader?.group ?? null).count;
    const threads = rankThreads(options.threads, here);
    let missing = count;
    let [start, refuse]: [(limits: ScoreLimits) => void, (error: Error) => void] = [() => {}, () => {}];
    this.ready = new Promise((resolve, reject) => {
      [start, refuse] = [resolve, reject];
    });
    this.scorers = Array.from({ length: count }, (_, index) => {
      const process = Math.floor(index / here);
      const before = (index % here) + (process === 0 && leader !== null ? leader.group.localRank * here : 0);
      const setup: ScorerSetup = { ...options, threads, device: rankDevice(options.device, before) };
      const fail = (why: string, user: boolean): void => {
        const message = `${scorer.name}: ${why}`;
        this.fail(user ? new UserError(message) : new Error(message));
        refuse(this.failure!);
      };
      const events = {
        message: (message: unknown) => {
          const news = message as ScoreNews;
          if (news.kind === 'failed') fail(news.message, news.user);
          else if (news.kind === 'scores') this.take(news.batch, news.scores);
          else if (news.model !== model) fail('it has other files of the model; copy them to all machines again', true);
          else if (--missing === 0) start(news.limits);
        },
        ended: (why: string) => fail(why, false),
      };
      const source = 'src/distributed/score_worker';
      const thread = process === 0 ? startThread(source, setup, events) : leader!.start(process, source, setup, events);
      const name = process === 0 ? `device ${index} (${setup.device})` : `device ${index} (process ${process})`;
      const scorer: Scorer = { name, thread, given: 0 };
      return scorer;
    });
  }

  /** How many batches keep all of them at work. */
  get width(): number {
    return 2 * this.scorers.length;
  }

  /** As {@link import('../engine/score_documents.js').scoreDocuments}, by whoever has least to do. */
  score(documents: readonly (readonly number[])[]): Promise<(number | null)[][]> {
    if (this.failure !== null) return Promise.reject(this.failure);
    const scorer = this.scorers.reduce((least, next) => (next.given < least.given ? next : least));
    const batch = this.batch++;
    scorer.given += 1;
    scorer.thread.send({ kind: 'score', batch, documents } satisfies ScoreOrder);
    return new Promise((resolve, reject) => this.batches.set(batch, { scorer, resolve, reject }));
  }

  async close(): Promise<void> {
    this.failure ??= new Error('The scorers are closed');
    for (const { thread } of this.scorers) thread.send({ kind: 'close' } satisfies ScoreOrder);
    await Promise.all(this.scorers.map(({ thread }) => thread.ended));
  }

  private take(batch: number, scores: (number | null)[][]): void {
    const waiting = this.batches.get(batch);
    if (!waiting) return; // another device has failed, and all were told
    this.batches.delete(batch);
    waiting.scorer.given -= 1;
    waiting.resolve(scores);
  }

  private fail(error: Error): void {
    this.failure ??= error;
    for (const { reject } of this.batches.values()) reject(this.failure);
    this.batches.clear();
  }
}
