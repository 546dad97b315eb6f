// The thread of a replica: a device, or several that share a model, and an engine of its own, which completes what it is sent.

import { parentPort, workerData } from 'node:worker_threads';
import type { Completion } from '../engine/completion.js';
import type { Engine } from '../engine/engine.js';
import type { GenerateRequest } from '../engine/prompt.js';
import type { EngineStatistics } from '../engine/statistics.js';
import { UserError } from '../errors.js';
import { openEngine } from './open_engine.js';
import type { ReplicaSetup } from './replicas.js';

export type ReplicaOrder =
  | { readonly kind: 'complete'; readonly task: number; readonly request: GenerateRequest }
  | { readonly kind: 'abort'; readonly task: number }
  | { readonly kind: 'close' };

export type ReplicaNews =
  | { readonly kind: 'ready'; readonly report: string; readonly model: string; readonly statistics: EngineStatistics }
  | { readonly kind: 'statistics'; readonly statistics: EngineStatistics }
  | { readonly kind: 'completion'; readonly task: number; readonly completion: Completion }
  /** Nothing more comes of the task. */
  | { readonly kind: 'done'; readonly task: number; readonly statistics: EngineStatistics }
  /** Nothing more comes of any task. */
  | { readonly kind: 'failed'; readonly message: string; readonly user: boolean };

/** How often it says where it stands while nothing is finished. */
const statisticsMilliseconds = 500;

const port = parentPort!;
const tasks = new Map<number, AbortController>();

function say(news: ReplicaNews): void {
  port.postMessage(news);
}

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  say({ kind: 'failed', message, user: error instanceof UserError });
}

async function complete(engine: Engine, task: number, request: GenerateRequest): Promise<void> {
  const controller = new AbortController();
  tasks.set(task, controller);
  for await (const completion of engine.generate([request], { signal: controller.signal })) {
    say({ kind: 'completion', task, completion });
  }
  tasks.delete(task);
  say({ kind: 'done', task, statistics: engine.statistics() });
}

async function serve(): Promise<void> {
  const { engine, loaded, close } = await openEngine(workerData as ReplicaSetup);
  const clock = setInterval(() => {
    if (tasks.size > 0) say({ kind: 'statistics', statistics: engine.statistics() });
  }, statisticsMilliseconds);
  port.on('message', async (order: ReplicaOrder) => {
    if (order.kind === 'complete') complete(engine, order.task, order.request).catch(fail);
    else if (order.kind === 'abort') tasks.get(order.task)?.abort();
    else {
      clearInterval(clock);
      await close();
      port.close(); // nothing is left to wait for, so the thread ends
    }
  });
  const { fingerprint: model } = loaded.files;
  say({ kind: 'ready', report: engine.startupReport(), model, statistics: engine.statistics() });
}

serve().catch(fail);
