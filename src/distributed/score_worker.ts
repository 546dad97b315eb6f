// The thread of a device that scores documents: a model of its own, and one batch after another.

import { parentPort, workerData } from 'node:worker_threads';
import { scoreDocuments } from '../engine/score_documents.js';
import { UserError } from '../errors.js';
import { loadModel } from '../nn/load.js';
import { Device } from '../tensor/device.js';
import type { ScorerSetup } from './scorers.js';

/** What a document must keep to. */
export interface ScoreLimits {
  /** Most tokens. */
  readonly context: number;
  /** Above every token. */
  readonly vocabSize: number;
}

export type ScoreOrder =
  | { readonly kind: 'score'; readonly batch: number; readonly documents: readonly (readonly number[])[] }
  | { readonly kind: 'close' };

export type ScoreNews =
  | { readonly kind: 'ready'; readonly limits: ScoreLimits; readonly model: string }
  | { readonly kind: 'scores'; readonly batch: number; readonly scores: (number | null)[][] }
  | { readonly kind: 'failed'; readonly message: string; readonly user: boolean };

const port = parentPort!;

function say(news: ScoreNews): void {
  port.postMessage(news);
}

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  say({ kind: 'failed', message, user: error instanceof UserError });
}

async function serve(): Promise<void> {
  const { model: name, device: deviceName, dtype, threads } = workerData as ScorerSetup;
  const device = Device.open(deviceName, { threads });
  const { model, files } = await loadModel(name, { device, ...(dtype && { dtype }) });
  const score = async (batch: number, documents: readonly (readonly number[])[]): Promise<void> =>
    say({ kind: 'scores', batch, scores: await scoreDocuments(model, documents) });
  port.on('message', async (order: ScoreOrder) => {
    if (order.kind === 'score') score(order.batch, order.documents).catch(fail);
    else {
      model.dispose();
      await device.close();
      port.close(); // nothing is left to wait for, so the thread ends
    }
  });
  const { maxPositionEmbeddings: context, vocabSize } = model.config;
  say({ kind: 'ready', limits: { context, vocabSize }, model: files.fingerprint });
}

serve().catch(fail);
