// The thread of a rank that computes what the leading rank of its tensor-parallel group tells it to.

import { parentPort, workerData } from 'node:worker_threads';
import type { FollowerNews, FollowerOrder, RankSetup } from '../engine/followers.js';
import { type Reads, StepExecutor } from '../engine/step_executor.js';
import { UserError } from '../errors.js';
import { isRankFailure } from './communicator.js';
import { type OpenRank, openRank } from './open_rank.js';

const port = parentPort!;
let rank: OpenRank | null = null;
let executor: StepExecutor | null = null;
let ended = false;

function say(news: FollowerNews): void {
  port.postMessage(news);
}

/** Nobody wants what it has read, but whether that was possible. */
async function settle({ tokens, logprobs, topTokens, topLogprobs, promptLogprobs }: Reads): Promise<void> {
  await Promise.all([tokens, logprobs, topTokens, topLogprobs, promptLogprobs]);
}

function release(): void {
  executor?.dispose();
  executor = null;
}

/** Gives everything back. Where other ranks still compute, they hear that this one has left. */
async function end(): Promise<void> {
  if (ended) return;
  ended = true;
  release();
  await rank?.close();
  port.close(); // nothing is left to wait for, so the thread ends
}

function fail(error: unknown): void {
  if (ended) return;
  const message = error instanceof Error ? error.message : String(error);
  say({ kind: 'failed', message, user: error instanceof UserError, consequence: isRankFailure(error) });
  void end();
}

function obey(order: FollowerOrder): void {
  if (ended) return;
  if (order.kind === 'prepare') executor = new StepExecutor(rank!.loaded.model, order.options);
  else if (order.kind === 'step') settle(executor!.execute(order.step)).catch(fail);
  else if (order.kind === 'close') void end();
  else {
    release();
    say({ kind: 'released' });
  }
}

async function serve(): Promise<void> {
  rank = await openRank(workerData as RankSetup);
  port.on('message', (order: FollowerOrder) => {
    try {
      obey(order);
    } catch (error) {
      fail(error);
    }
  });
  say({ kind: 'ready' });
}

serve().catch(fail);
