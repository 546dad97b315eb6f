import { launch } from '../tensor/launch.js';
import { currentTape, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { mul, scale } from './elementwise.js';
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
  if (!tape?.tracks(hidden) && !tape?.tracks(outputWeight))
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
 */
export function tokenLogprobs(
  hidden: Tensor,
  outputWeight: Tensor,
  targets: Tensor,
): { logprobs: Tensor; lse: Tensor } {
  const logprobs = Tensor.empty(hidden.device, [hidden.shape[0]!], 'f32');
  const lse = logprobs.like();
  launch('token_logprobs', [hidden, outputWeight, targets, logprobs, lse]);
  record('tokenLogprobs', [hidden, outputWeight], [logprobs], [hidden, outputWeight, targets, lse], (context) => {
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
