import { threadId } from 'node:worker_threads';
import { Engine, type EngineOptions } from '../engine/engine.js';
import { Followers, type RankSetup } from '../engine/followers.js';
import type { LoadedModel } from '../nn/load.js';
import type { TextOptions } from '../text/text_options.js';
import { rankThreads } from './mesh_shape.js';
import { openRank } from './open_rank.js';

export interface OpenEngineOptions {
  /** A directory, a GGUF file or a fetched name. */
  readonly model: string;
  readonly text?: TextOptions;
  /** A folder in PEFT's layout to apply to the model. */
  readonly adapter?: string | undefined;
  /** Of the first rank; the others have the GPUs after it, or the same CPU. */
  readonly device: string;
  readonly dtype?: 'f32' | 'bf16' | undefined;
  /** CPU threads of all ranks together, divided evenly. */
  readonly threads: number;
  readonly engine?: EngineOptions;
  /** Ranks that hold the model together: tensor parallelism. Default: 1. */
  readonly tp?: number;
  /** Name of the group that they meet in, used once. Default: one of this process's own. */
  readonly group?: string;
}

export interface OpenedEngine {
  readonly engine: Engine;
  /** The leading rank's part. */
  readonly loaded: LoadedModel;
  /** Closes the engine and gives back model, devices and threads. */
  close(): Promise<void>;
}

let groups = 0;

/**
 * Opens a model and an engine for it over as many ranks as `tp` says: this thread leads, each of the others has a thread of its own.
 * @throws UserError for what keeps a rank from starting, naming it
 */
export async function openEngine(options: OpenEngineOptions): Promise<OpenedEngine> {
  const { model, text = {}, adapter, device, dtype, tp = 1 } = options;
  const group = options.group ?? `engine-${process.pid}-${threadId}-${++groups}`;
  const threads = rankThreads(options.threads, tp);
  const setup: RankSetup = { model, text, adapter, device, dtype, threads, group, ranks: tp, rank: 0 };
  const followers = tp > 1 ? new Followers(setup) : null;
  const own = openRank(setup);
  try {
    const { loaded, close } = followers ? await followers.unlessFailed(own) : await own;
    await followers?.ready();
    const engine = Engine.create(loaded, options.engine, followers);
    return {
      engine,
      loaded,
      async close() {
        await engine.close();
        await Promise.all([followers?.close(), close()]);
      },
    };
  } catch (error) {
    // A rank that waits for another in a collective ends when that one has gone.
    await Promise.all([
      followers?.close(),
      own.then(
        ({ close }) => close(),
        () => {},
      ),
    ]);
    throw error;
  }
}
