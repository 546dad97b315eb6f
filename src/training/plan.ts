// The whole run laid out beforehand: which packs each optimizer step trains on. A function of settings and documents alone,
// so that every rank and a resumed run agree on it.

import type { TrainConfig } from './config.js';
import type { Documents } from './documents.js';
import { type PackingPlan, packDocuments, planWindows, type Window } from './packing.js';

export type PlanSettings = Pick<
  TrainConfig,
  'sequenceLength' | 'seed' | 'epochs' | 'maxSteps' | 'microBatch' | 'gradientAccumulation'
>;

export interface PlannedStep {
  /** 1 for the first. */
  readonly step: number;
  readonly window: Window;
  /** Micro-batches of the run before this step. */
  readonly firstMicroBatch: number;
}

export class TrainingPlan {
  readonly totalSteps: number;
  /** Of the first epoch; later ones differ in order alone. */
  readonly packing: PackingPlan;
  readonly #documents: Documents;
  readonly #settings: PlanSettings;

  static async create(documents: Documents, settings: PlanSettings): Promise<TrainingPlan> {
    return new TrainingPlan(documents, settings, await packEpoch(documents, settings, 0));
  }

  private constructor(documents: Documents, settings: PlanSettings, packing: PackingPlan) {
    this.#documents = documents;
    this.#settings = settings;
    this.packing = packing;
    const perStep = settings.microBatch * settings.gradientAccumulation;
    const steps = settings.epochs * Math.ceil(packing.count / perStep);
    this.totalSteps = Math.min(steps, settings.maxSteps ?? steps);
  }

  /** All steps in order. Those up to `done` are passed over but counted. */
  async *stepsAfter(done: number): AsyncGenerator<PlannedStep> {
    const { epochs, microBatch, gradientAccumulation } = this.#settings;
    let step = 0;
    let firstMicroBatch = 0;
    for (let epoch = 0; epoch < epochs; ++epoch) {
      const packing = epoch === 0 ? this.packing : await packEpoch(this.#documents, this.#settings, epoch);
      for (const window of planWindows(packing, microBatch, gradientAccumulation)) {
        if (step === this.totalSteps) return;
        ++step;
        if (step > done) yield { step, window, firstMicroBatch };
        firstMicroBatch += window.microBatches.length;
      }
    }
  }

  /** Trained tokens of the whole run. */
  async trainedTokens(): Promise<number> {
    let tokens = 0;
    for await (const { window } of this.stepsAfter(0)) tokens += window.trained;
    return tokens;
  }
}

function packEpoch(documents: Documents, { sequenceLength, seed }: PlanSettings, epoch: number): Promise<PackingPlan> {
  return packDocuments(documents, sequenceLength, seed, epoch);
}
