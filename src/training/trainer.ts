// One optimizer step: forward and backward over a window of micro-batches, reduction over ranks, clipping, update.

import { UserError } from '../errors.js';
import type { ActivationCheckpointing } from '../nn/context.js';
import type { CausalLM } from '../nn/model.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tape } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import type { Documents, TrainingDocument } from './documents.js';
import type { GradientExchange, PassHooks } from './gradient_exchange.js';
import type { StepMetrics } from './metrics.js';
import { evaluateObjective, type LoadedObjective, type ObjectiveWindow } from './objectives/objective.js';
import { type AdamW, gradientNorm, type Parameters, zeroGradients } from './optimizer.js';
import { assembleBatch, type Pack, type Window } from './packing.js';
import type { Schedule } from './schedule.js';
import { countedHere, reducePartialGradients } from './tensor_parallel.js';
import { windowFlops } from './utilisation.js';

export interface TrainerOptions {
  readonly model: CausalLM;
  /** What is trained; `requiresGrad` is set on these and on nothing else of the model. */
  readonly parameters: Parameters;
  readonly optimizer: AdamW;
  readonly schedule: Schedule;
  /** The peak rate, which the schedule scales. */
  readonly learningRate: number;
  readonly objective: LoadedObjective;
  /** Gradients are scaled down to this norm; 0: never. */
  readonly maxGradNorm: number;
  readonly activationCheckpointing: ActivationCheckpointing;
  /** With the ranks that share each window; null: this one is alone. */
  readonly exchange: GradientExchange | null;
  /** Floating-point operations a second that all ranks together can do; null, the default: not known. */
  readonly peakFlops?: number | null;
}

/** Loss or gradients that are not finite. The weights are still those of the step before. */
export class DivergenceError extends UserError {}

export interface StepResult {
  readonly metrics: StepMetrics;
  /** Some rank asked to stop after this step; all ranks hear of it in the same step. */
  readonly stopRequested: boolean;
}

export class Trainer {
  readonly #options: TrainerOptions;
  #lastFinished = performance.now();

  constructor(options: TrainerOptions) {
    this.#options = options;
    zeroGradients(options.parameters);
  }

  /** Leaves the time since the last step out of the next one's rate. */
  restartClock(): void {
    this.#lastFinished = performance.now();
  }

  /**
   * Trains on one window. Every rank calls it with the same window and takes its share of the micro-batches.
   * @param step 1 for the first of the run
   * @param firstMicroBatch micro-batches of the run before this window: they name the dropout masks, whatever rank runs them
   * @throws {DivergenceError} before the update, on every rank, when the loss or a gradient is not finite
   */
  async step(
    step: number,
    window: Window,
    documents: Documents,
    firstMicroBatch: number,
    stop = false,
  ): Promise<StepResult> {
    const { model, optimizer, parameters, schedule, exchange, maxGradNorm } = this.#options;
    const learningRate = this.#options.learningRate * schedule.factor(step - 1);
    if (window.trained === 0) {
      throw new UserError(
        `Expected step ${step} to have tokens to train but none of its ${window.tokens} is; look at its rows with \`compress-distill inspect\``,
      );
    }

    // [loss, ranks that want to stop], summed over the ranks.
    using summary = Tensor.from(model.device, [0, stop ? 1 : 0]);
    const rowsOf = (packs: readonly Pack[]) =>
      packs.flatMap((pack) => Array.from(pack.documents, (index) => documents.at(index)));
    const rows = window.microBatches.map(({ packs }) => rowsOf(packs));
    const objectiveWindow = { trained: window.trained, rows: rows.flat() };
    const { rank, size } = exchange?.communicator ?? { rank: 0, size: 1 };
    const own = rows.flatMap((_, index) => (index % size === rank ? [index] : []));
    const passes = exchange?.lockstep ? Math.ceil(rows.length / size) : own.length;
    for (let pass = 0; pass < passes; pass += 1) {
      // A rank that has no micro-batch left runs another's where it must keep step.
      const counts = pass < own.length;
      const index = own[pass] ?? 0;
      const run = (hooks?: PassHooks): Tensor => {
        const options = { ...this.#options, window: objectiveWindow, number: firstMicroBatch + index };
        return addGradients(model, rows[index]!, options, hooks);
      };
      scope(() => {
        const loss = exchange ? exchange.pass({ last: pass === passes - 1, counts }, run) : run();
        const total = summary.narrow(0, 0, 1);
        if (counts) launch('add', [total, loss, total], [1]);
      });
    }
    exchange?.finish();
    exchange?.communicator.allReduce(summary);
    // The ranks that hold the model together have all had the same micro-batches, and found the same loss.
    scope(() => model.group?.allReduce(summary.narrow(0, 1, 1)));
    reducePartialGradients(model, parameters);
    const counted = countedHere(model, parameters);
    const { norm, factor } = gradientNorm(parameters, maxGradNorm, exchange?.holders ?? null, model.group, counted);
    using _norm = norm;
    using _factor = factor;
    // The one wait of a step. What is not finite is found before it reaches the weights.
    const [[loss = Number.NaN, stops = 0], [gradNorm = Number.NaN]] = await Promise.all([
      summary.readFloats(),
      norm.readFloats(),
    ]);
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm)) {
      zeroGradients(parameters);
      const what = Number.isFinite(loss) ? `Gradient norm is ${gradNorm}` : `Loss is ${loss}`;
      throw new DivergenceError(
        `${what} at step ${step}; lower 'learningRate' (${learningRate.toPrecision(3)} here) or look at the data of this step`,
      );
    }
    optimizer.step(learningRate, step, factor);
    model.weightsChanged();
    zeroGradients(parameters);

    const now = performance.now();
    const seconds = (now - this.#lastFinished) / 1000;
    this.#lastFinished = now;
    const { peakFlops = null } = this.#options;
    const done = peakFlops === null ? 0 : windowFlops(model, window, documents.lengths) / seconds;
    return {
      metrics: {
        step,
        loss,
        learningRate,
        gradNorm,
        tokens: window.tokens,
        trainedTokens: window.trained,
        tokensPerSecond: window.tokens / seconds,
        ...(peakFlops === null ? {} : { modelFlopUtilisation: done / peakFlops }),
      },
      stopRequested: stops > 0,
    };
  }
}

export interface MicroBatchOptions {
  readonly objective: LoadedObjective;
  /** The whole window: losses and gradients are shares of its own. */
  readonly window: ObjectiveWindow;
  /** Micro-batches of the run before this one. */
  readonly number: number;
  readonly activationCheckpointing: ActivationCheckpointing;
}

/**
 * Packs documents into one forward and backward pass. Adds to `grad` of every parameter and returns the loss, f32 [1], which
 * is the caller's to dispose.
 * @param hooks called as the pass goes through the model's layers
 */
export function addGradients(
  model: CausalLM,
  documents: readonly TrainingDocument[],
  options: MicroBatchOptions,
  hooks?: PassHooks,
): Tensor {
  return scope(() => {
    const batch = assembleBatch(documents);
    const upload = (data: Int32Array) => Tensor.from(model.device, data);
    const context = {
      kind: 'packed' as const,
      tokens: upload(batch.tokens),
      positions: upload(batch.positions),
      cuSeqlens: upload(batch.cuSeqlens),
      training: { step: options.number, activationCheckpointing: options.activationCheckpointing },
      ...(hooks && { layers: hooks }),
    };
    using tape = new Tape({ recompute: options.activationCheckpointing === 'selective' });
    const { objective, window } = options;
    const loss = tape.run(() =>
      evaluateObjective(objective, { model, window, rows: documents, packed: batch, hidden: model.forward(context) }),
    );
    hooks?.startBackward();
    tape.backward(loss);
    return loss;
  });
}
