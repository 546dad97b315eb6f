// What a loss is a function of: `objective(batch, ops) → f32 [1]`.

import { UserError } from '../../errors.js';
import type { CausalLM } from '../../nn/model.js';
import * as ops from '../../ops/index.js';
import type { TensorData } from '../../tensor/dtype.js';
import { currentTape } from '../../tensor/tape.js';
import { Tensor } from '../../tensor/tensor.js';
import type { TrainingDocument } from '../documents.js';
import type { PackedBatch } from '../packing.js';

/** Every differentiable operation, and `Tensor`, `launch` and `record` to write another one with. */
export type Ops = typeof ops;

/** One row of the training data: its tokens, and in `data` its keys beside `id` and `messages`. */
export type ObjectiveRow<Data = Record<string, unknown>> = Omit<TrainingDocument, 'data'> & { readonly data: Data };

export interface ObjectiveWindow<Data = Record<string, unknown>> {
  /** Trained tokens of the window. */
  readonly trained: number;
  /** All its rows, in packing order. */
  readonly rows: readonly ObjectiveRow<Data>[];
}

/** One micro-batch: T tokens of B rows, laid one after another. Tensors belong to the trainer; functions need no `this`. */
export interface ObjectiveBatch<Data = Record<string, unknown>> {
  readonly rows: readonly ObjectiveRow<Data>[];
  /**
   * What the optimizer step trains on, in all micro-batches and on all ranks. Losses of micro-batches are added up, so
   * dividing by totals of the window keeps the loss the same however it is cut.
   */
  readonly window: ObjectiveWindow<Data>;
  /** `objectiveOptions` of the training file. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Hidden states after the final norm, [T, E] in the model's dtype. */
  readonly hidden: Tensor;
  /** [V, E] in the model's dtype: logits = hidden · outputWeightᵀ. */
  readonly outputWeight: Tensor;
  /** i32 [T]: the token that comes next where that is trained, else −1. */
  readonly targets: Tensor;
  /** i32 [B + 1]: where each row begins, then T. */
  readonly cuSeqlens: Tensor;
  /** log p(target), f32 [T]; 0 where the target is −1. Never holds the logits. */
  tokenLogprobs(): Tensor;
  /** f32 [T, V]. All of them at once: for small batches or vocabularies. */
  logits(): Tensor;
  /** A number for every trained token, the `nth` of its row (from 0): f32 [T], 0 where nothing is trained. */
  perToken(value: (row: ObjectiveRow<Data>, nth: number) => number): Tensor;
  /** Uploads numbers: f32, or i32 from an Int32Array. Default shape: one dimension. */
  constant(values: TensorData | readonly number[], shape?: readonly number[]): Tensor;
}

/**
 * A loss: this micro-batch's share of it, f32 [1]. It only enqueues operations, so it cannot await.
 *
 *     const objective: Objective<{ weight: number }> = ({ tokenLogprobs, perToken, window }, { mul, scale, sum }) =>
 *       scale(sum(mul(tokenLogprobs(), perToken(({ data }) => data.weight))), -1 / window.trained);
 */
export type Objective<Data = Record<string, unknown>> = (batch: ObjectiveBatch<Data>, ops: Ops) => Tensor;

/** Looks at a row before training starts. @throws with what is wrong; file and line are put in front. */
export type CheckRow<Data = Record<string, unknown>> = (row: ObjectiveRow<Data>) => void;

/** For the plan of a run's memory. `logits()` and what is made of it take 4 · vocabSize bytes each. */
export type BytesPerToken = (model: { readonly hiddenSize: number; readonly vocabSize: number }) => number;

/** An objective ready to be called. */
export interface LoadedObjective {
  /** For messages: the built-in's name or the file. */
  readonly name: string;
  readonly objective: Objective;
  readonly checkRow: CheckRow | null;
  readonly options: Readonly<Record<string, unknown>>;
  /** What its loss holds of each token until the backward pass is through with it, in bytes; null: next to nothing. */
  readonly bytesPerToken: BytesPerToken | null;
  /** Of what decides the loss, for the fingerprint of the run. */
  readonly fingerprint: string;
}

export interface BatchInput {
  readonly model: CausalLM;
  readonly hidden: Tensor;
  readonly rows: readonly ObjectiveRow[];
  readonly packed: PackedBatch;
  readonly window: ObjectiveWindow;
}

/**
 * The loss of one micro-batch; to be called while a tape records.
 * @throws {UserError} naming the objective, for what it throws and for a result that is not a loss
 */
export function evaluateObjective({ name, objective, options }: LoadedObjective, input: BatchInput): Tensor {
  let loss: Tensor;
  try {
    loss = objective(createBatch(input, options), ops);
  } catch (error) {
    throw new UserError(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
  const isLoss = loss instanceof Tensor && loss.size === 1 && loss.dtype === 'f32';
  if (isLoss && currentTape()?.tracks(loss) !== false) return loss;
  const received = loss instanceof Promise ? 'a promise' : isLoss ? 'one that depends on no parameter' : String(loss);
  throw new UserError(
    `${name}: Expected the objective to return its loss, an f32 tensor of one element computed from hidden states, but received ${received}; end with sum()`,
  );
}

function createBatch(input: BatchInput, options: LoadedObjective['options']): ObjectiveBatch {
  const { model, hidden, rows, packed, window } = input;
  const { device, outputWeight } = model;
  const constant: ObjectiveBatch['constant'] = (values, shape) => Tensor.from(device, values, shape);
  const targets = constant(packed.targets);
  return {
    ...{ rows, window, options, hidden, outputWeight, targets, constant },
    cuSeqlens: constant(packed.cuSeqlens),
    tokenLogprobs: () => ops.tokenLogprobs(hidden, outputWeight, targets).logprobs,
    logits: () => ops.logits(hidden, outputWeight),
    perToken: (value) => constant(tokenValues(rows, value)),
  };
}

/** f32 [T]: `value` of every trained token of the rows, 0 elsewhere. */
function tokenValues(rows: readonly ObjectiveRow[], value: (row: ObjectiveRow, nth: number) => number): Float32Array {
  const values = new Float32Array(rows.reduce((sum, { tokens }) => sum + tokens.length, 0));
  forTrainedTokens(rows, (row, nth, position) => {
    const number: unknown = value(row, nth);
    if (typeof number !== 'number' || !Number.isFinite(number))
      throw new Error(`Expected a finite number for trained token ${nth} of row '${row.id}' but received ${number}`);
    values[position] = number;
  });
  return values;
}

/** Calls `visit` with every trained token: the nth of its row, at `position` among the T tokens of the rows. */
export function forTrainedTokens(
  rows: readonly ObjectiveRow[],
  visit: (row: ObjectiveRow, nth: number, position: number) => void,
): void {
  let first = 0;
  for (const row of rows) {
    let nth = 0;
    for (const [offset, target] of row.targets.entries()) if (target >= 0) visit(row, nth++, first + offset);
    first += row.tokens.length;
  }
}
