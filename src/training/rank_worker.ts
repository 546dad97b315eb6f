// The thread of a rank other than the first.

import { parentPort, workerData } from 'node:worker_threads';
import { UserError } from '../errors.js';
import { type RankSetup, trainRank } from './rank.js';

/** What the thread says at the end; nothing follows. */
export type RankMessage =
  | { readonly ok: true }
  | { readonly ok: false; readonly message: string; readonly user: boolean };

function say(message: RankMessage): void {
  parentPort?.postMessage(message);
}

try {
  await trainRank(workerData as RankSetup, null);
  say({ ok: true });
} catch (error) {
  say({ ok: false, message: (error as Error).message, user: error instanceof UserError });
}
