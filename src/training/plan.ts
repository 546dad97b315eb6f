// The whole run laid out beforehand: which packs each optimizer step trains on. A function of settings and documents alone,
// so that every rank and a resumed run agree on it.

import type { TrainConfig } from './config.js';
import { type PackingPlan, packDocuments, planWindows, type TrainingDocument, type Window } from './packing.js';

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
  readonly #documents: readonly TrainingDocument[];
  readonly #settings: PlanSettings;

  constructor(documents: readonly TrainingDocument[], settings: PlanSettings) {
    this.#documents = documents;
    this.#settings = settings;
    this.packing = this.#pack(0);
    const perStep = settings.microBatch * settings.gradientAccumulation;
    const steps = settings.epochs * Math.ceil(this.packing.packs.length / perStep);
    this.totalSteps = Math.min(steps, settings.maxSteps ?? steps);
  }

  /** All steps in order. Those up to `done` are passed over but counted. */
  *stepsAfter(done: number): Generator<PlannedStep> {
    const { epochs, microBatch, gradientAccumulation } = this.#settings;
    let step = 0;
    let firstMicroBatch = 0;
    for (let epoch = 0; epoch < epochs; ++epoch) {
      const { packs } = epoch === 0 ? this.packing : this.#pack(epoch);
      for (const window of planWindows(packs, microBatch, gradientAccumulation)) {
        if (step === this.totalSteps) return;
        ++step;
        if (step > done) yield { step, window, firstMicroBatch };
        firstMicroBatch += window.microBatches.length;
      }
    }
  }

  /** Trained tokens of the whole run. */
  trainedTokens(): number {
    let tokens = 0;
    for (const { window } of this.stepsAfter(0)) tokens += window.trained;
    return tokens;
  }

  #pack(epoch: number): PackingPlan {
    return packDocuments(this.#documents, this.#settings.sequenceLength, this.#settings.seed, epoch);
  }
}
