import { launch } from '../tensor/launch.js';
import { currentTape, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { mul, scale } from './elementwise.js';
import { linear } from './matmul.js';
import { copyToGroup, gatherColumns, localIds, type VocabularyShard, vocabularyShard } from './parallel.js';
import { sum } from './reduce.js';

/**
 * Σ weight[t] · (−log p(target[t])) over the rows, p = softmax(hidden · outputWeightᵀ), without ever holding T × V logits.
 *
 * hidden [T, E], outputWeight [V, E], targets i32 [T] (−1: none), weights f32 [T] → loss f32 [1]. The weights are known
 * beforehand, so the gradients are computed on the way and the loss must be where the backward pass starts; for any other
 * upstream gradient there is {@link tokenLogprobs}. Where no tape wants a gradient none is computed.
 */
export function crossEntropy(hidden: Tensor, outputWeight: Tensor, targets: Tensor, weights: Tensor): Tensor {
  const tape = currentTape();
  const wanted = tape?.tracks(hidden) || tape?.tracks(outputWeight);
  // Ranks that share a vocabulary agree on the log-sum-exp before there are gradients.
  if (!wanted || vocabularyShard(outputWeight) !== null)
    return scale(sum(mul(tokenLogprobs(hidden, outputWeight, targets).logprobs, weights)), -1);
  const perToken = Tensor.empty(hidden.device, [hidden.shape[0]!], 'f32');
  const loss = Tensor.empty(hidden.device, [1], 'f32');
  const dHidden = hidden.like();
  const trainsHead = tape?.tracks(outputWeight) ?? false;
  const dWeight = trainsHead ? Tensor.zeros(hidden.device, outputWeight.shape, 'f32') : null;
  launch('linear_cross_entropy', [hidden, outputWeight, targets, weights, perToken, dHidden, dWeight]);
  launch('sum', [perToken, loss]);
  record('crossEntropy', [hidden, outputWeight], [loss], dWeight ? [dHidden, dWeight] : [dHidden], (context) => {
    context.add(0, context.saved(0));
    if (dWeight) context.add(1, context.saved(1));
  });
  return loss;
}

/**
 * log p(target[t]) under softmax(hidden · outputWeightᵀ), for any loss built on it: f32 [T], 0 where the target is −1. The
 * backward pass computes the logits again, tile by tile. Also returns the log-sum-exp of each row's logits, f32 [T].
 *
 * Of a head that is a rank's part of the vocabulary, targets are those of the whole, and so are the results, on every rank.
 */
export function tokenLogprobs(
  hidden: Tensor,
  outputWeight: Tensor,
  targets: Tensor,
): { logprobs: Tensor; lse: Tensor } {
  const shard = vocabularyShard(outputWeight);
  const input = copyToGroup(hidden, shard?.group ?? null);
  const local = shard ? localIds(targets, outputWeight, shard) : targets;
  const { logprobs, lse } = shard
    ? mergedLogprobs(input, outputWeight, targets, local, shard)
    : localLogprobs(input, outputWeight, local);
  record('tokenLogprobs', [input, outputWeight], [logprobs], [input, outputWeight, local, lse], (context) => {
    const dHidden = hidden.like();
    const inputs = [
      context.saved(0),
      context.saved(1),
      context.saved(2),
      context.saved(3),
      context.gradient(),
      dHidden,
    ];
    if (context.needs(1)) {
      context.into(1, (target, accumulate) => {
        if (!accumulate) launch('fill', [target], [0]);
        launch('token_logprobs_backward', [...inputs, target]);
      });
    } else {
      launch('token_logprobs_backward', [...inputs, null]);
    }
    context.add(0, dHidden);
  });
  return { logprobs, lse };
}

function localLogprobs(hidden: Tensor, outputWeight: Tensor, targets: Tensor): { logprobs: Tensor; lse: Tensor } {
  const logprobs = Tensor.empty(hidden.device, [hidden.shape[0]!], 'f32');
  const lse = logprobs.like();
  launch('token_logprobs', [hidden, outputWeight, targets, logprobs, lse]);
  return { logprobs, lse };
}

function mergedLogprobs(
  hidden: Tensor,
  outputWeight: Tensor,
  targets: Tensor,
  local: Tensor,
  { group, vocabulary }: VocabularyShard,
): { logprobs: Tensor; lse: Tensor } {
  const rows = hidden.shape[0]!;
  using mine = Tensor.empty(hidden.device, [2, rows], 'f32');
  using logprobsOfPart = mine.narrow(0, 0, 1).reshape([rows]);
  using lseOfPart = mine.narrow(0, 1, 1).reshape([rows]);
  launch('token_logprobs', [hidden, outputWeight, local, logprobsOfPart, lseOfPart]);
  using parts = group.allGather(mine);
  const logprobs = Tensor.empty(hidden.device, [rows], 'f32');
  const lse = logprobs.like();
  launch('merge_logprobs', [targets, parts.reshape([group.size, 2, rows]), logprobs, lse], [vocabulary]);
  return { logprobs, lse };
}

/** hidden [R, E] · outputWeightᵀ, f32 [R, V]: all logits at once, the whole vocabulary's on every rank that has a part of it. */
export function logits(hidden: Tensor, outputWeight: Tensor): Tensor {
  const shard = vocabularyShard(outputWeight);
  if (shard === null) return linear(hidden, outputWeight, 'f32');
  return gatherColumns(linear(copyToGroup(hidden, shard.group), outputWeight, 'f32'), shard);
}
