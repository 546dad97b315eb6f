// Distillation from stored log-probabilities of a teacher: Kullback-Leibler divergence over the tokens that were stored.
//
// A row has `teacher`, one entry for each trained token: { token?, top: [{ token, logprob }, …] } with at least two tokens in
// `top`. That is `logprobs` of the rows that `generate --logprobs K` writes. Teacher p and student q are both renormalised
// over the stored tokens, so the sum over the vocabulary drops out: a loss costs K products of E numbers per token.

import { z } from 'zod';
import * as ops from '../../ops/index.js';
import type { Tensor } from '../../tensor/tensor.js';
import { parseStrict } from '../strict_schema.js';
import { type CheckRow, forTrainedTokens, type Objective, type ObjectiveRow } from './objective.js';
import { expectPerTrainedToken } from './weighted.js';

const candidate = z.looseObject({ token: z.number().int().min(0), logprob: z.number() });
const teacherSchema = z.looseObject({
  teacher: z.array(z.looseObject({ token: z.number().int().optional(), top: z.array(candidate).min(2) })),
});
type Teacher = z.output<typeof teacherSchema>['teacher'];

export const checkTeacher: CheckRow = ({ data, targets, trained }) => {
  const { teacher } = parseStrict(teacherSchema, data);
  expectPerTrainedToken('teacher', teacher, trained);
  const labels = targets.filter((target) => target >= 0);
  for (const [nth, { token, top }] of teacher.entries()) {
    if (token !== undefined && token !== labels[nth])
      throw new Error(
        `Expected 'teacher[${nth}]' to be about token ${labels[nth]} but it is about ${token}: the text is not tokenised as it was generated; remove the row`,
      );
    if (new Set(top.map((each) => each.token)).size !== top.length)
      throw new Error(`Expected 'teacher[${nth}].top' to name every token once`);
  }
};

/** Mean over the trained tokens of Σ p (log p − log q): the student covers what the teacher might say. */
export const forwardKl: Objective = distillation((logP, p, logQ) => ops.mul(p, difference(logP, logQ)));

/** Mean over the trained tokens of Σ q (log q − log p): the student keeps to what the teacher finds likely. */
export const reverseKl: Objective = distillation((logP, _, logQ) => ops.mul(ops.exp(logQ), difference(logQ, logP)));

function difference(a: Tensor, b: Tensor): Tensor {
  return ops.add(a, ops.scale(b, -1));
}

/** Trained tokens whose n·K rows of E numbers exist at one time; the backward pass computes them again. */
const chunkTokens = 256;

/** Added to the logit of a token that only fills a row up to K: its probability is 0. */
const absent = -1e4;

function distillation(divergence: (logP: Tensor, p: Tensor, logQ: Tensor) => Tensor): Objective {
  return ({ rows, hidden, outputWeight, window, constant }) => {
    const stored = collect(rows);
    const columns = Math.max(2, ...stored.map(({ top }) => top.length));
    const ones = constant(new Float32Array(hidden.shape[1]!).fill(1), [1, hidden.shape[1]!]);
    let loss: Tensor | null = null;
    for (let start = 0; start < stored.length; start += chunkTokens) {
      const chunk = layOut(stored.slice(start, start + chunkTokens), columns);
      const shape = [chunk.logP.length / columns, columns];
      const inputs = [
        ...[chunk.positions, chunk.tokens].map((ids) => constant(ids)),
        ...[chunk.logP, chunk.p, chunk.bias].map((values) => constant(values, shape)),
      ];
      const share = ops.checkpoint(
        (states, ...[positions, tokens, logP, p, bias]) => {
          const product = ops.mul(wideRows(states, positions!), wideRows(outputWeight, tokens!));
          const logits = ops.reshape(ops.linear(product, ones), shape);
          return ops.sum(divergence(logP!, p!, ops.logSoftmax(ops.add(logits, bias!))));
        },
        hidden,
        ...inputs,
      );
      loss = loss ? ops.add(loss, share) : share;
    }
    // Rows without a trained token in this micro-batch: nothing to learn, yet a loss that depends on the model.
    return ops.scale(loss ?? ops.sum(ops.cast(hidden, 'f32')), loss ? 1 / window.trained : 0);
  };
}

function wideRows(table: Tensor, ids: Tensor): Tensor {
  return ops.cast(ops.embedding(table, ids), 'f32');
}

interface Stored {
  readonly position: number;
  readonly top: Teacher[number]['top'];
}

function collect(rows: readonly ObjectiveRow[]): Stored[] {
  const stored: Stored[] = [];
  forTrainedTokens(rows, ({ data }, nth, position) => {
    stored.push({ position, top: (data as { teacher: Teacher }).teacher[nth]!.top });
  });
  return stored;
}

/** n tokens by K columns; the teacher's p sums to 1 over each row. */
function layOut(stored: readonly Stored[], columns: number) {
  const size = stored.length * columns;
  const [positions, tokens] = [new Int32Array(size), new Int32Array(size)];
  const [logP, p, bias] = [new Float32Array(size), new Float32Array(size), new Float32Array(size).fill(absent)];
  for (const [row, { position, top }] of stored.entries()) {
    const highest = Math.max(...top.map(({ logprob }) => logprob));
    const lse = highest + Math.log(top.reduce((sum, { logprob }) => sum + Math.exp(logprob - highest), 0));
    positions.fill(position, row * columns, (row + 1) * columns);
    for (const [column, { token, logprob }] of top.entries()) {
      const index = row * columns + column;
      tokens[index] = token;
      logP[index] = logprob - lse;
      p[index] = Math.exp(logprob - lse);
      bias[index] = 0;
    }
  }
  return { positions, tokens, logP, p, bias };
}
